"""The tables of what could not be processed, and of its replays."""

from django.db import models
from django.db.models.functions import Now


class GroupState(models.TextChoices):
    OPEN = "open"
    RESOLVED = "resolved"
    REGRESSED = "regressed"


class DeadLetterState(models.TextChoices):
    OPEN = "open"
    REPLAYING = "replaying"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class ReplayState(models.TextChoices):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped", "Stopped: too many failed"
    CANCELLED = "cancelled"
    DONE = "done"


class ReplayOutcome(models.TextChoices):
    WAITING = "waiting"
    REPLAYED = "replayed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeadLetterGroup(models.Model):
    """Dead letters that failed alike: same consumer, same error class, same place in the code."""

    fingerprint = models.TextField(unique=True)
    consumer = models.TextField()
    error_class = models.TextField()
    place = models.TextField(help_text="The innermost function of our own code that the error passed through.")
    sample = models.TextField(help_text="The message of the latest letter.")
    state = models.TextField(choices=GroupState.choices, default=GroupState.OPEN)
    note = models.TextField(blank=True, default="")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    seen = models.BigIntegerField(default=0, help_text="Letters ever, those that were dropped included.")
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.TextField(blank=True, default="")

    class Meta:
        app_label = "eventbus"
        db_table = "dead_letter_group"
        ordering = ["-last_seen"]
        indexes = [models.Index(fields=["last_seen"], name="dead_letter_group_last_seen")]
        permissions = [("resolve_dead_letter_group", "Can resolve and reopen groups of dead letters")]

    def __str__(self) -> str:
        return f"{self.consumer}: {self.error_class.rsplit('.', 1)[-1]} in {self.place}"


class DeadLetterHour(models.Model):
    """How many dead letters of a group came in an hour. It outlives them."""

    group = models.ForeignKey(DeadLetterGroup, models.CASCADE, related_name="hours", db_index=False)
    hour = models.DateTimeField()
    letters = models.IntegerField()

    class Meta:
        app_label = "eventbus"
        db_table = "dead_letter_hour"
        constraints = [models.UniqueConstraint(fields=["group", "hour"], name="dead_letter_hour_once")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}: {self.letters}"


class DeadLetter(models.Model):
    """An event, or what claimed to be one, that a consumer could not process.

    One row per consumer and body until it is settled: a second failure of the same delivery updates it.
    """

    consumer = models.TextField()
    event_id = models.UUIDField(null=True, help_text="Empty where the body names none.")
    event_type = models.TextField(blank=True, default="")
    aggregate_id = models.TextField(blank=True, default="")
    correlation_id = models.TextField(blank=True, default="")
    group = models.ForeignKey(DeadLetterGroup, models.PROTECT, related_name="letters", db_index=False)
    reason = models.TextField()
    error_class = models.TextField()
    error_message = models.TextField()
    traceback = models.TextField()
    attempts = models.JSONField(help_text="Every attempt that failed: its number, when, and the error.")
    first_failed_at = models.DateTimeField()
    failed_at = models.DateTimeField()
    arrived_at = models.DateTimeField(db_default=Now())
    arrivals = models.IntegerField(default=1, help_text="How often it came, replays that failed included.")
    code_version = models.TextField(help_text="What the worker ran that gave up.")
    body = models.BinaryField(help_text="Encrypted.")
    body_hash = models.BinaryField()
    headers = models.JSONField()
    properties = models.JSONField()
    state = models.TextField(choices=DeadLetterState.choices, default=DeadLetterState.OPEN)
    replay = models.ForeignKey("DeadLetterReplay", models.SET_NULL, null=True, related_name="letters", db_index=False)
    settled_at = models.DateTimeField(null=True)
    settled_by = models.TextField(blank=True, default="")
    discard_reason = models.TextField(blank=True, default="")
    drop_at = models.DateTimeField(help_text="When it is deleted; an open one only after a warning.")
    warned_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "eventbus"
        db_table = "dead_letter"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["consumer", "body_hash"],
                condition=models.Q(state__in=["open", "replaying"]),
                name="dead_letter_once_while_open",
            ),
        ]
        indexes = [
            models.Index(fields=["event_id"], name="dead_letter_of_event"),
            models.Index(fields=["correlation_id"], name="dead_letter_of_correlation"),
            models.Index(fields=["aggregate_id"], name="dead_letter_of_aggregate"),
            models.Index(fields=["group", "id"], name="dead_letter_of_group"),
            models.Index(fields=["consumer", "id"], name="dead_letter_of_consumer"),
            models.Index(fields=["consumer", "body_hash", "failed_at"], name="dead_letter_seen_before"),
            models.Index(fields=["failed_at"], name="dead_letter_failed_at"),
            models.Index(fields=["drop_at"], name="dead_letter_drop_at"),
            models.Index(fields=["group"], name="dead_letter_open", condition=models.Q(state="open")),
            models.Index(fields=["consumer"], name="dead_letter_open_at", condition=models.Q(state="open")),
        ]
        permissions = [
            ("view_dead_letter_payload", "Can read the payload of dead letters"),
            ("replay_dead_letter", "Can replay dead letters"),
            ("discard_dead_letter", "Can discard dead letters"),
            ("edit_dead_letter", "Can edit and replay dead letters"),
        ]

    def __str__(self) -> str:
        return f"Dead letter {self.pk} of {self.consumer}"


class DeadLetterEdit(models.Model):
    """An edited payload that a person sent in a dead letter's place. Its own body stays as it came."""

    letter = models.ForeignKey(DeadLetter, models.CASCADE, related_name="edits")
    body = models.BinaryField(help_text="Encrypted.")
    edited_by = models.TextField()
    edited_at = models.DateTimeField(db_default=Now())

    class Meta:
        app_label = "eventbus"
        db_table = "dead_letter_edit"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"Edit of dead letter {self.letter_id} by {self.edited_by}"


class DeadLetterReplay(models.Model):
    """A run that sends a frozen set of dead letters back to their consumers: one, then ten, then the rest.

    Whoever holds the lease drives it; a driver that died lets it run out, and the next one goes on.
    """

    id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.TextField()
    selection = models.JSONField(help_text="What was asked for. The set itself was frozen at the start.")
    total = models.IntegerField()
    rate = models.FloatField(null=True, help_text="Letters per second at most.")
    threshold = models.FloatField(help_text="Stops when a larger part of the letters fails again.")
    state = models.TextField(choices=ReplayState.choices, default=ReplayState.RUNNING)
    note = models.TextField(blank=True, default="")
    # Outcomes before the last resume: they count neither for the stages nor for the threshold.
    settled_before = models.IntegerField(default=0)
    failed_before = models.IntegerField(default=0)
    lease_holder = models.TextField(blank=True, default="")
    lease_until = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "eventbus"
        db_table = "replay"
        ordering = ["-id"]
        indexes = [models.Index(fields=["lease_until"], name="replay_running", condition=models.Q(state="running"))]

    def __str__(self) -> str:
        return f"Replay {self.pk}"


class DeadLetterReplayItem(models.Model):
    """A dead letter in a replay."""

    replay = models.ForeignKey(DeadLetterReplay, models.CASCADE, related_name="items", db_index=False)
    letter = models.ForeignKey(DeadLetter, models.CASCADE, related_name="replays")
    place = models.IntegerField()
    edit = models.ForeignKey(DeadLetterEdit, models.SET_NULL, null=True)
    sent_at = models.DateTimeField(null=True)
    outcome = models.TextField(choices=ReplayOutcome.choices, default=ReplayOutcome.WAITING)
    settled_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, default="")

    class Meta:
        app_label = "eventbus"
        db_table = "replay_item"
        ordering = ["replay", "place"]
        constraints = [models.UniqueConstraint(fields=["replay", "place"], name="replay_item_once")]
        indexes = [models.Index(fields=["replay", "outcome"], name="replay_item_outcome")]

    def __str__(self) -> str:
        return f"{self.replay_id} #{self.place}"
