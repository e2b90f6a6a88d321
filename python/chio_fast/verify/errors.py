"""What the verifier raises."""


class VerifyError(Exception):
    """Verification failed.

    Attributes:
        fault: Code of what is wrong, from the list in ``docs/receipt-format.md``.
        detail: Where, and what was expected.
    """

    def __init__(self, fault: str, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail


class MalformedError(ValueError):
    """A text is not what the format says; callers turn it into the fault of the part that they were reading."""
