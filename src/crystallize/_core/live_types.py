"""Types of live objects: they change while they are used, so that a copy of one is of no use to a reader."""

from typing import Final

from .._base.type_registry import TypeRegistry

LIVE: Final[TypeRegistry[bool]] = TypeRegistry(
    dict.fromkeys(
        (
            "torch.nn.Module",
            "torch.optim.Optimizer",
            "torch.optim.lr_scheduler.LRScheduler",
            "torch.utils.data.DataLoader",
            "keras.Model",
            "xgboost.Booster",
            "lightgbm.Booster",
        ),
        True,
    )
)
