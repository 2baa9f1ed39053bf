"""What stands for an id in the API's addresses. What cannot be one is not found, before a database is asked."""

from uuid import UUID


class UUIDConverter:
    """A UUID in either case. Django's own takes lower case only, and would not find what others write in upper case."""

    regex = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

    def to_python(self, value: str) -> UUID:
        return UUID(value)

    def to_url(self, value: UUID | str) -> str:
        return str(value).lower()


class TextConverter:
    """An id that may hold anything that prints, slashes included."""

    regex = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,64}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value
