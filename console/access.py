"""Who may do what: the roles that `manage.py load_roles` makes, and how pages say who could."""

from collections.abc import Mapping, Sequence

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

VIEW_ORDERS, CANCEL_ORDERS = "orders.view_order", "orders.cancel_order"
VIEW_MAILS, RESEND_MAILS = "notifications.view_mail", "notifications.resend_mail"
VIEW_PARCELS, DISPATCH = "shipping.view_shipment", "shipping.dispatch_shipment"
VIEW_STOCK = "inventory.view_stock"
VIEW_PIPELINE, VIEW_PAYLOADS = "eventbus.view_pipeline", "eventbus.view_archivedevent"
REPLAY, HURRY = "eventbus.replay_dead_letter", "eventbus.hurry_waiting_retry"
VIEW_LETTERS, VIEW_ALARMS = "eventbus.view_deadlettergroup", "eventbus.view_alarm"
RESOLVE, DISCARD = "eventbus.resolve_dead_letter_group", "eventbus.discard_dead_letter"
VIEW_ACTIVITY = "admin.view_logentry"

_PIPELINE = (
    VIEW_PIPELINE,
    "eventbus.view_alarm",
    "eventbus.view_alarmnotice",
    "eventbus.view_heartbeat",
    "eventbus.view_deadletter",
    "eventbus.view_deadlettergroup",
    "eventbus.view_deadletterreplay",
    "eventbus.view_waitingretry",
    "eventbus.view_archivereplay",
    "eventbus.view_processedeventrow",
    "eventbus.view_outbox",
)
_SHOP = (VIEW_ORDERS, VIEW_MAILS, VIEW_PARCELS, VIEW_STOCK)

#: What each role may do. A person may have several.
ROLES: Mapping[str, Sequence[str]] = {
    "clerk": (*_SHOP, CANCEL_ORDERS, RESEND_MAILS),
    "dispatcher": (*_SHOP, DISPATCH, "inventory.receive_stock", "inventory.count_stock"),
    "operator": (
        *_PIPELINE,
        *_SHOP,
        REPLAY,
        HURRY,
        "eventbus.cancel_waiting_retry",
        "eventbus.discard_dead_letter",
        "eventbus.resolve_dead_letter_group",
    ),
    "developer": (
        *_PIPELINE,
        VIEW_ORDERS,
        VIEW_PAYLOADS,
        REPLAY,
        HURRY,
        "eventbus.view_dead_letter_payload",
        "eventbus.edit_dead_letter",
        "eventbus.resolve_dead_letter_group",
    ),
    "auditor": (*_PIPELINE, *_SHOP, VIEW_PAYLOADS, VIEW_ACTIVITY),
}


class NotAllowed(PermissionDenied):
    """This person may not see or do this; the page says who could."""

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission


def who_could(permission: str) -> list[str]:
    """The roles that have a permission."""
    return [role for role, permissions in ROLES.items() if permission in permissions]


def allowed(request: HttpRequest, **permissions: str) -> dict[str, bool]:
    """For templates: which of these the person has, each by its name there."""
    return {name: request.user.has_perm(permission) for name, permission in permissions.items()}


def demand(request: HttpRequest, permission: str) -> None:
    """Raises NotAllowed for who lacks the permission."""
    if not request.user.has_perm(permission):
        raise NotAllowed(permission)
