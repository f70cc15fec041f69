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
