# An image for agents: the Claude Code CLI, git, and a shell with perl (Debian's base has it) and
# awk for the run script. A starting point: agents need the compilers and tools of their work too. From the checkout's root:
#   docker build -f deployments/images/agent.Dockerfile -t REGISTRY/claude-jobs/agent:2.1.329 deployments/images
FROM node:22-bookworm-slim AS cli
# Pinned: transcripts of other versions may have events that this one does not know.
ARG CLAUDE_CODE_VERSION=2.1.329
# The platform's package holds the native binary; the main package only chooses a platform.
ARG CLAUDE_CODE_PLATFORM=linux-x64
WORKDIR /cli
RUN npm pack --silent "@anthropic-ai/claude-code-${CLAUDE_CODE_PLATFORM}@${CLAUDE_CODE_VERSION}" \
 && tar -xzf ./*.tgz package/claude

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git mawk procps \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1000 agent \
 && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash agent \
 && install -d -o agent -g agent /work
COPY --from=cli /cli/package/claude /usr/local/bin/claude
# The image decides which version runs.
ENV DISABLE_AUTOUPDATER=1
WORKDIR /work
USER 1000:1000
