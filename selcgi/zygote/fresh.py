"""What a zygote's child must not share with its siblings."""


def refresh() -> None: ...
