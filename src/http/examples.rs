//! Calls as a person types them, for every part of the API: they stand in the API's document (`x-codeSamples`) and on
//! `/docs`.

/// A call with curl.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The route, as the document names it.
    pub route: &'static str,
    /// What it does.
    pub title: &'static str,
    /// What takes the places of the route's parameters, in order.
    pub places: &'static [&'static str],
    /// The query string.
    pub query: &'static str,
    /// The JSON that it sends, with `IMAGE` for [`SEVEN`]; empty: none.
    pub body: &'static str,
    /// Further options of curl.
    pub options: &'static str,
}

/// A seven of 56 x 56 pixels, so that a call with an image can be pasted as it is.
const SEVEN: &str = "data:image/png;base64,\
    iVBORw0KGgoAAAANSUhEUgAAADgAAAA4AQAAAACA/QazAAAAPUlEQVR42mNgIAHY/3/ABGEJQOkPUBmoOCNMnoEZQsozoRjAzgDjM6Hw+dDEZdD4\
    Fgyo5jxAlWd8wDBSAQADqwdUTq/9ygAAAABJRU5ErkJggg==";

const fn get(route: &'static str, title: &'static str) -> Example {
    Example { method: "GET", route, title, places: &[], query: "", body: "", options: "" }
}

const fn post(route: &'static str, title: &'static str, body: &'static str) -> Example {
    Example { method: "POST", body, ..get(route, title) }
}

impl Example {
    const fn of(self, places: &'static [&'static str]) -> Self {
        Self { places, ..self }
    }

    const fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    const fn options(self, options: &'static str) -> Self {
        Self { options, ..self }
    }

    /// The address without the server.
    pub fn address(&self) -> String {
        let mut places = self.places.iter().copied();
        let parts = self.route.split('/');
        let parts = parts.map(|part| if part.starts_with('{') { places.next().unwrap_or(part) } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        if self.query.is_empty() { path } else { format!("{path}?{}", self.query) }
    }

    /// The body as it is sent.
    pub fn json(&self) -> String {
        self.body.replace("IMAGE", SEVEN)
    }

    /// The call as a line for the shell.
    pub fn curl(&self) -> String {
        let address = format!("localhost:8080{}", self.address());
        // A shell takes these for its own.
        let address = if address.contains(['?', '&', '*']) { format!("'{address}'") } else { address };
        let mut words = vec!["curl -s".to_owned()];
        // curl posts by itself what it is given to send.
        let sends = !self.body.is_empty() || self.options.contains("-F ") || self.options.contains("--data");
        if self.method != if sends { "POST" } else { "GET" } {
            words.push(format!("-X {}", self.method));
        }
        words.push(address);
        if !self.options.is_empty() {
            words.push(self.options.to_owned());
        }
        if !self.body.is_empty() {
            words.push(format!("-H 'content-type: application/json' -d '{}'", self.json()));
        }
        words.join(" ")
    }
}

/// The examples of a call.
pub fn of(method: &str, route: &str) -> impl Iterator<Item = &'static Example> {
    EXAMPLES.iter().filter(move |example| example.route == route && example.method.eq_ignore_ascii_case(method))
}

/// All of them, by the parts of the API.
pub const EXAMPLES: &[Example] = &[
    post(
        "/generate",
        "Ask about an image and get a map for every token",
        r#"{"model": "starter", "prompt": "what digits are there ?", "images": ["IMAGE"],
  "temperature": 0, "max_new_tokens": 64, "attention": {"maps": "tokens", "format": "values"}}"#,
    ),
    post(
        "/v1/chat/completions",
        "Ask as with OpenAI's API",
        r#"{"model": "starter", "temperature": 0, "messages": [{"role": "user", "content": "what is one and one ?"}]}"#,
    ),
    post(
        "/v1/score",
        "Score an answer with the image hidden: does it depend on it?",
        r#"{"model": "starter", "prompt": "what digits are there ?", "images": ["IMAGE"],
  "responses": ["7"], "ablate": "image"}"#,
    ),
    get("/healthz", "Does the server live?"),
    get("/readyz", "Can it answer?"),
    get("/metrics", "Figures for Prometheus"),
    post(
        "/v1/keys",
        "Make a key for a program",
        r#"{"name": "ci of team vision", "role": "user", "project": "vision"}"#,
    ),
    get("/v1/keys", "List keys, as an admin").options("-H \"authorization: Bearer $VGPO_API_KEY\""),
    get("/v1/audit", "Who changed what"),
    post("/v1/jobs", "Train the starter on digits", r#"{"model": "starter", "dataset": "digits"}"#),
    post(
        "/v1/jobs",
        "What a job would be and cost, before it is submitted",
        r#"{"model": "starter", "dataset": "digits", "steps": 80, "method": {"type": "vgpo", "beta": 0.25}}"#,
    )
    .query("dry_run=true"),
    post("/v1/jobs/{id}/pause", "Pause a job at a checkpoint", r#"{"reason": "the GPU is needed"}"#).of(&["job_1"]),
    get("/v1/jobs", "Jobs that have not ended").query("state=queued,running,paused"),
    get("/v1/checkpoints", "The checkpoints of a run").query("run=run_1"),
    get("/v1/checkpoints/{id}/download", "Download one as a folder of Hugging Face")
        .of(&["ckpt_1"])
        .options("-o checkpoint.tar"),
    post("/v1/checkpoints/{id}/promote", "Serve it under a name", r#"{"name": "digits-v2"}"#).of(&["ckpt_1"]),
    Example {
        method: "POST",
        ..get("/v1/datasets", "Upload rows and an image that they name")
            .options("-F name=mine -F file=@rows.jsonl -F 'file=@a.png;filename=images/a.png'")
    },
    Example {
        method: "POST",
        ..get("/v1/datasets", "Upload rows, and leave out those that cannot be used")
            .query("name=mine&bad_rows=leave_out")
            .options("-H 'content-type: application/x-ndjson' --data-binary @rows.jsonl")
    },
    post(
        "/v1/datasets",
        "Register a repository of the hub, with its names of columns",
        r#"{"name": "mine", "source": {"hub": "org/name"}, "columns": {"prompt": "question"}}"#,
    ),
    get("/v1/datasets/{id}/rows", "Look at held-out rows").of(&["digits"]).query("split=eval&limit=5"),
    get("/v1/workers", "Workers with their devices and jobs"),
    get("/v1/engines", "Servers that answer requests"),
    get("/v1/events", "Everything that happens, as it happens").options("-N"),
    get("/v1/events", "What happens to one run").query("runs=run_1").options("-N"),
    get("/v1/runs/{id}/metrics", "Curves of a run").of(&["run_1"]).query("keys=eval/accuracy,reward/mean"),
    get("/v1/metrics", "A sweep by method: means with their intervals")
        .query("sweep=swp_1&key=eval/accuracy&group_by=method.type"),
    get("/v1/runs/{id}/metrics.csv", "All points as a table").of(&["run_1"]).options("-o points.csv"),
    get("/v1/models", "Models that can be trained and asked"),
    post("/v1/models", "Register a model of the hub", r#"{"source": {"hub": "Qwen/Qwen2.5-VL-3B-Instruct"}}"#),
    post(
        "/v1/rewards/evaluate",
        "Try a reward on a response",
        r#"{"reward": {"type": "math"}, "items": [{"response": "It is \\boxed{7}.", "ground_truth": "7"}]}"#,
    ),
    post(
        "/v1/rewards/evaluate",
        "Try a sum of rewards",
        r#"{"reward": {"type": "weighted", "parts": [{"weight": 0.9, "reward": {"type": "math"}},
  {"weight": 0.1, "reward": {"type": "format"}}]}, "items": [{"response": "7", "ground_truth": "7"}]}"#,
    ),
    get("/v1/runs", "Runs with their last and best values").query("include=summary&limit=20"),
    Example {
        method: "PATCH",
        ..post("/v1/runs/{id}", "Tags and notes", r#"{"tags": {"for": "the paper"}, "notes": "looks until step 40"}"#)
            .of(&["run_1"])
    },
    get("/v1/runs/{id}/trackers", "How far MLflow and trackio have a run").of(&["run_1"]),
    get("/v1/runs/{id}/eval-rows/compare", "Two runs on the same rows").of(&["run_1"]).query("with=run_2"),
    post(
        "/v1/sweeps",
        "Two methods with three seeds each",
        r#"{"job": {"model": "starter", "dataset": "digits"},
  "grid": {"method.type": ["vgpo", "grpo"], "seed": [0, 1, 2]}}"#,
    ),
    get("/v1/sweeps/{id}", "Every run of a sweep with its results").of(&["swp_1"]),
    post("/v1/sweeps/{id}/cancel", "Cancel what has not ended", "{}").of(&["swp_1"]),
];
