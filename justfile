# Daily commands. `just` lists them.

default:
    @just --list

# Format, lints, tests: everything that has to be green.
test:
    ./scripts/test

# What daily work needs: format, lints, Rust tests.
quick:
    ./scripts/test --quick

# Tests of one room, e.g. `just room train`.
room name:
    cargo test --release --test it {{ name }}::

# Train and serve the starter, from nothing to a dashboard of URLs.
quickstart *args:
    cargo run --release -- quickstart {{ args }}

# Build the starter model again; compare it with assets/starter.
starter out="/tmp/vgpo-starter":
    cargo run --release -- starter build --out {{ out }}

# Write the OpenAPI document that the code generates.
openapi:
    cargo run --release -- openapi > openapi/vgpo.json

# What a first build costs: time, memory, crates, size; docs/building.md holds the figures (by hand, on a quiet machine: some minutes).
cold-build *args:
    ./scripts/cold-build {{ args }}

# A stripped binary archive and a Python wheel that carries the program, both tried out; in dist/.
package:
    ./scripts/package

# Licences, bans and sources of dependencies.
deny:
    cargo deny check bans licenses sources

# Do the builds for NVIDIA GPUs compile, with NCCL too? Brings its own nvcc (docs/hardware.md); about 14 minutes of CPU time.
check-cuda *args:
    ./scripts/check-cuda {{ args }}

# Check our files against the real transformers, peft and datasets; writes docs/peers.md (by hand: minutes and 6 GB).
verify-peers *args:
    ./scripts/verify-peers {{ args }}

# Train on a real vLLM for CPUs, by adapters and by all weights, against local runs; writes docs/vllm.md (by hand: 20 minutes and 6 GB).
verify-vllm *args:
    cargo build --release
    ./scripts/verify-vllm {{ args }}

# Lint Dockerfiles, compose file, Kubernetes manifests, alert rules and dashboards.
lint-deploy:
    ./scripts/lint-deploy

# Compare the estimated memory of jobs with what they take; writes docs/memory.md
verify-memory:
    cargo build --release
    ./scripts/verify-memory --vgpo target/release/vgpo --out docs/memory.md

# Kill workers and servers, restart PostgreSQL and fill the disk while jobs run; writes docs/chaos.md (by hand: minutes a seed).
verify-chaos *args:
    cargo build --release
    ./scripts/verify-chaos --vgpo target/release/vgpo --out docs/chaos.md {{ args }}

# Read exported runs with the real tensorboard and mlflow; writes docs/exports.md (by hand: a minute or two).
verify-exports:
    ./scripts/verify-exports

# Schemathesis against a real server; more and other requests with e.g. `just test-schemathesis -n 200`.
test-schemathesis *args:
    ./scripts/test-schemathesis {{ args }}

# OpenAI's own clients (Python, Node) against a real server.
test-clients:
    ./scripts/test-clients

# Clients generated from the API's document (Python, TypeScript) against a real server.
test-generated-clients:
    ./scripts/test-generated-clients

# The dashboard's scripts against the types of openapi/vgpo.json, and their layout; `--format` lays them out first.
check-dashboard *args:
    ./scripts/check-dashboard {{ args }}

# Pictures of every page of the dashboard, of a server that has really trained; writes docs/images/dashboard (by hand: minutes).
screenshots *args:
    ./scripts/screenshots {{ args }}

# How long the dashboard's scripts keep a frame waiting; writes docs/performance-dashboard.md (by hand: minutes).
bench-dashboard:
    ./scripts/bench-dashboard

# Measure the service: queue, metrics, requests, starts; writes docs/performance-service.md (by hand, on a quiet machine: some minutes).
bench-service:
    cargo build --release
    cargo bench --bench service

# Does anything grow with a run? One long job and long rollouts; writes docs/performance-growth.md (by hand, on a quiet machine: some minutes).
soak *args:
    ./scripts/soak {{ args }}

# What do idle and busy workers ask of the database? Writes the table of docs/scale.md
bench-workers *args:
    ./scripts/bench-workers {{ args }}

# Every kind of attack against a release build; writes docs/attacks.md (by hand, on a quiet machine: some minutes).
verify-attacks *names:
    cargo build --release
    ./scripts/verify-attacks --vgpo target/release/vgpo --out docs/attacks.md {{ names }}

# Hostile inputs for every parser, for a number of seconds; writes docs/fuzzing.md.
verify-fuzz seconds="600":
    ./scripts/verify-fuzz {{ seconds }}
