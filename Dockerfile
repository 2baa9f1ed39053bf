FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# /mailbox is for the mail sink: a volume takes the owner of the folder that it covers.
RUN useradd --create-home --uid 10001 app && install -d -o app -g app /mailbox
WORKDIR /app

COPY requirements.txt .
RUN pip install --require-hashes -r requirements.txt

COPY . .
# Collecting needs settings but none of the servers behind them.
RUN SECRET_KEY=build DATABASE_URL=postgres://build/build BROKER_URL=amqp://build// \
    python manage.py collectstatic --noinput

USER app
EXPOSE 8000
CMD ["sh", "-c", "exec granian --interface asginl --http 1 --no-ws --host 0.0.0.0 --port 8000 --workers ${WEB_PROCESSES:-2} --respawn-failed-workers --workers-kill-timeout 15 config.asgi:application"]
