# Two images of one file: `graph`, for AWS (Dagster, the dashboard, the command `fraudit`), and `local`, the whole local world
# (compose.yaml). docs/containers.md says how each is used, and what of this was run.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
# With numbers of their own, so that a volume belongs to the same user in every image.
RUN groupadd --gid 10001 fraudit \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /home/fraudit --shell /usr/sbin/nologin fraudit \
 && install --directory --owner=10001 --group=10001 /var/lib/fraudit
ENV PATH=/opt/fraudit/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FRAUDIT_STATE_DIR=/var/lib/fraudit \
    FRAUDIT_WORK_DIR=/var/lib/fraudit/work
WORKDIR /srv/fraudit

# The lock only limits here: what an image does not ask for, such as the tools of the tests, stays out; hashes are checked.
FROM base AS packages
COPY requirements-uv.lock ./
RUN python -m venv /opt/uv \
 && /opt/uv/bin/python -m pip install --no-cache-dir --require-hashes --requirement requirements-uv.lock \
 && python -m venv --without-pip /opt/fraudit
ENV VIRTUAL_ENV=/opt/fraudit UV_NO_CACHE=1 UV_LINK_MODE=copy
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY glue/pyproject.toml glue/
RUN /opt/uv/bin/uv pip install --constraint requirements.lock --requirement pyproject.toml --requirement glue/pyproject.toml

FROM packages AS graph-packages
COPY fraudit_dagster fraudit_dagster
COPY assets assets
COPY resources resources
COPY jobs jobs
COPY dashboard dashboard
COPY glue glue
COPY infra/dagster infra/dagster
RUN /opt/uv/bin/uv pip install --no-deps --no-build-isolation --editable . --editable glue \
 && python -m compileall -q -j 0 /opt/fraudit/lib /srv/fraudit

FROM packages AS local-packages
COPY infra/localaws/pyproject.toml infra/localaws/README.md infra/localaws/
RUN /opt/uv/bin/uv pip install --constraint requirements.lock --requirement infra/localaws/pyproject.toml
COPY fraudit_dagster fraudit_dagster
COPY assets assets
COPY resources resources
COPY jobs jobs
COPY dashboard dashboard
COPY glue glue
COPY api api
COPY infra/localaws infra/localaws
COPY infra/local infra/local
COPY workspace.yaml ./
RUN /opt/uv/bin/uv pip install --no-deps --no-build-isolation --editable . --editable glue --editable infra/localaws \
 && python -m compileall -q -j 0 /opt/fraudit/lib /srv/fraudit

FROM base AS local
COPY --from=local-packages /opt/fraudit /opt/fraudit
COPY --from=local-packages /srv/fraudit /srv/fraudit
USER 10001:10001
VOLUME /var/lib/fraudit
# Exit code 0 when every service is healthy.
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s --retries=4 CMD ["fraudit", "status"]
CMD ["fraudit", "up", "--foreground"]

# Last, so that it is what a build without --target makes. Its other commands are in docs/containers.md.
FROM base AS graph
ENV DAGSTER_HOME=/srv/fraudit/infra/dagster
COPY --from=graph-packages /opt/fraudit /opt/fraudit
COPY --from=graph-packages /srv/fraudit /srv/fraudit
USER 10001:10001
# Where the root cannot be written, these can: a volume belongs to whom the folder belongs to, and on Fargate to root without this line.
VOLUME ["/var/lib/fraudit", "/home/fraudit", "/tmp"]
EXPOSE 4000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "fraudit_dagster.definitions"]
