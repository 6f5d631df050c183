from .tracking import MlflowClient as MlflowClient
