"""The addresses of the console."""

from django.urls import path

from console.views import (
    activity,
    alarms,
    dispatch,
    documents,
    events,
    home,
    letters,
    login,
    orders,
    pipeline,
    search,
    stock,
    trace,
)

app_name = "console"

urlpatterns = [
    path("", home.home, name="home"),
    path("login/", login.login, name="login"),
    path("search", search.search, name="search"),
    path("orders/", orders.order_list, name="orders"),
    path("orders/<id:order_id>/", orders.order, name="order"),
    path("orders/<id:order_id>/cancel/", orders.cancel, name="cancel"),
    path("orders/<id:order_id>/dispatch/", orders.dispatch, name="dispatch-order"),
    path("orders/<id:order_id>/mails/<id:mail_id>/resend/", orders.resend, name="resend"),
    path("dispatch/", dispatch.bench, name="dispatch"),
    path("stock/", stock.stock, name="stock"),
    path("trace/<path:wanted>/", trace.trace, name="trace"),
    path("activity/", activity.activity, name="activity"),
    path("api/docs", documents.rest, name="rest"),
    path("docs/events", documents.events, name="catalogue"),
    path("docs/events/<str:event_type>", documents.event, name="event"),
    path("pipeline/", pipeline.pipeline, name="pipeline"),
    path("pipeline/consumers/<str:name>/", pipeline.consumer, name="consumer"),
    path("pipeline/alarms/", alarms.alarms, name="alarms"),
    path("pipeline/events/", events.events, name="events"),
    path("pipeline/dead-letters/", letters.letters, name="letters"),
    path("pipeline/dead-letters/groups/<int:group_id>/replay/", letters.replay, name="replay-group"),
    path("pipeline/dead-letters/groups/<int:group_id>/discard/", letters.discard, name="discard-group"),
    path("pipeline/dead-letters/groups/<int:group_id>/resolve/", letters.resolve, name="resolve-group"),
    path("pipeline/dead-letters/groups/<int:group_id>/reopen/", letters.reopen, name="reopen-group"),
    path("pipeline/dead-letters/<int:letter_id>/replay/", trace.replay, name="replay"),
    path("pipeline/retries/<int:retry_id>/hurry/", trace.hurry, name="hurry"),
]
