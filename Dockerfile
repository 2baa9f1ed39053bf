FROM python:3.13-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH

COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes -r requirements.txt && pip uninstall --yes pip

WORKDIR /app
# .dockerignore names what runs.
COPY . .
ARG CODE_VERSION
# A commit, a tag, or what the code itself comes to.
RUN echo "${CODE_VERSION:-$(find . -type f | sort | xargs sha256sum | sha256sum | cut -c -12)}" >code_version
# Collecting needs settings but none of the servers behind them.
RUN SECRET_KEY=build DATABASE_URL=postgres://build/build BROKER_URL=amqp://build// python manage.py collectstatic --noinput \
    && python -m compileall -q .


FROM python:3.13-slim

# /mailbox is for the mail sink: a volume takes the owner of the folder that it covers.
RUN useradd --no-create-home --uid 10001 app && install -d -o app -g app /mailbox
COPY --from=build /venv /venv
COPY --from=build /app /app

ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CODE_VERSION_FILE=/app/code_version
WORKDIR /app
USER 10001:10001
EXPOSE 8000
CMD ["sh", "-c", "exec granian --interface asginl --http 1 --no-ws --host 0.0.0.0 --port 8000 --workers ${WEB_PROCESSES:-2} --respawn-failed-workers --workers-kill-timeout 15 config.asgi:application"]
