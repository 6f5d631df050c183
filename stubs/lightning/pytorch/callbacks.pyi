class ModelCheckpoint:
    best_model_path: str
    def __init__(
        self,
        dirpath: str | None = None,
        *,
        monitor: str | None = None,
        save_last: bool | None = None,
        every_n_train_steps: int | None = None,
    ) -> None: ...
