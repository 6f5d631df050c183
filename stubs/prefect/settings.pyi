class Setting:
    def value(self) -> str: ...

PREFECT_API_URL: Setting
