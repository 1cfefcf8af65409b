# Slim, locked, not root. Build: docker build -t dcim .
FROM python:3.13-slim AS build
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY dcim dcim
COPY collectors collectors
COPY alerts alerts
COPY dashboards dashboards
# Versions and hashes come from the lock; what only development needs stays out.
RUN uv venv /opt/dcim \
 && uv pip compile -q --generate-hashes --no-header --extra postgres --extra apprise \
    -c requirements.lock pyproject.toml -o /tmp/runtime.lock \
 && uv pip install --python /opt/dcim/bin/python --require-hashes -r /tmp/runtime.lock \
 && uv pip install --python /opt/dcim/bin/python --no-deps .

FROM python:3.13-slim
COPY --from=build /opt/dcim /opt/dcim
# Compose runs it as whoever owns the secrets, so the folder takes any user; a fresh volume inherits that.
RUN useradd --uid 10001 --no-create-home dcim && install -d -m 1777 /var/lib/dcim
USER dcim
WORKDIR /var/lib/dcim
VOLUME /var/lib/dcim
ENTRYPOINT ["/opt/dcim/bin/dcim"]
CMD ["serve", "--config", "/etc/dcim/site.toml"]
