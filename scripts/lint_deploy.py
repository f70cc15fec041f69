"""What no linter of single files sees: references between docker/'s files. Writes the dashboards' expressions as rules for promtool."""

import json
import re
import sys
from pathlib import Path

import yaml

docker = Path("docker")
compose_text = (docker / "compose.yaml").read_text()
compose = yaml.safe_load(compose_text)

given = {line.split("=")[0] for line in (docker / "env.example").read_text().splitlines() if "=" in line and not line.startswith("#")}
asked = set(re.findall(r"\$\{(\w+)\}", compose_text))
assert asked == given, f"compose.yaml asks for {sorted(asked)}, env.example gives {sorted(given)}"

services, volumes = compose["services"], compose["volumes"]
for name, service in services.items():
    assert "image" in service, name
    for other, condition in (service.get("depends_on") or {}).items() if isinstance(service.get("depends_on"), dict) else []:
        assert other in services, f"{name} depends on {other}"
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in services[other], f"{other} has no health check"
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (docker / source).exists(), f"{name} mounts {source}"
        else:
            assert source in volumes, f"{name} mounts {source}"
    build = service.get("build")
    assert not build or (docker / build["context"] / build["dockerfile"]).exists(), name
print(f"compose.yaml: {len(services)} services refer to what is there")

added = yaml.safe_load((docker / "compose.vllm.yaml").read_text())["services"]
for name, service in added.items():
    assert name in services or "image" in service, f"compose.vllm.yaml: {name} is neither in compose.yaml nor has it an image"
    for mount in service.get("volumes", []):
        assert mount.split(":")[0] in volumes, f"compose.vllm.yaml: {name} mounts {mount}"
print(f"compose.vllm.yaml: {len(added)} services refer to what is there")

for path in sorted((docker / "kubernetes").glob("*.yaml")):
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        if document["kind"] == "StatefulSet":
            heads = [one["metadata"]["name"] for one in documents if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"]
            assert document["spec"]["serviceName"] in heads, f"{path}: no service gives the pods their names"
        pod = document.get("spec", {}).get("template", {}).get("spec")
        if pod:
            given = {volume["name"] for volume in pod.get("volumes", [])}
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                asked = {mount["name"] for mount in container.get("volumeMounts", [])}
                assert asked <= given, f"{path}: {asked - given} is mounted but not there"
print("kubernetes: services and volumes are there")

sources = yaml.safe_load((docker / "grafana/provisioning/datasources/vgpo.yaml").read_text())["datasources"]
uids = {source["uid"] for source in sources}
rules, boards = [], 0
for path in sorted((docker / "grafana/dashboards").glob("*.json")):
    board = json.loads(path.read_text())
    boards += 1
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)), path
    for panel in board["panels"]:
        for target in panel["targets"]:
            assert target["datasource"]["uid"] in uids, (path, panel["title"])
            if "expr" in target:
                rules.append({"record": f"dashboard:panel{len(rules)}", "expr": target["expr"]})
assert rules
Path(sys.argv[1]).write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
print(f"grafana: {boards} dashboards, {len(rules)} expressions")
