//! The program's settings: one line each.

/// One program setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name in `vgpo.toml`.
    pub key: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its value when it is not set.
    pub default: &'static str,
    /// What it means, for people.
    pub about: &'static str,
    /// Is its value never shown?
    pub secret: bool,
}

const fn open(key: &'static str, variable: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { key, variable, default, about, secret: false }
}

const fn secret(key: &'static str, variable: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { key, variable, default, about, secret: true }
}

/// The file of settings that is read where none is named.
pub const FILE: &str = "vgpo.toml";
/// The variable that names another file.
pub const FILE_VARIABLE: &str = "VGPO_CONFIG";

/// The setting called `key`.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Every setting.
pub fn settings() -> &'static [Setting] {
    SETTINGS
}

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    open("data_dir", "VGPO_DATA_DIR", "./vgpo-data", "Folder of everything the program keeps"),
    open("host", "VGPO_HOST", "127.0.0.1", "Address to listen on; beyond loopback, keys are required"),
    open("port", "VGPO_PORT", "8080", "Port to listen on; 0 picks a free one"),
    secret("database_url", "VGPO_DATABASE_URL", "", "`sqlite:FILE` or `postgres://…`; empty: inside the data folder"),
    open("migrate", "VGPO_MIGRATE", "auto", "`auto` migrates the database at a start, `check` refuses one that is not up to date"),
    open("artifacts_url", "VGPO_ARTIFACTS_URL", "", "Where checkpoints and data sets are kept: `file:DIR` or `s3://bucket/prefix`; empty: inside the data folder"),
    open("metrics_listen", "VGPO_METRICS_LISTEN", "", "Address and port for `/metrics` alone; empty: served with the API"),
    open("otlp_endpoint", "VGPO_OTLP_ENDPOINT", "", "OpenTelemetry collector for traces, e.g. `http://127.0.0.1:4318`; empty: none"),
    open("log_format", "VGPO_LOG_FORMAT", "text", "`text` or `json`"),
    open("retain_events_days", "VGPO_RETAIN_EVENTS_DAYS", "90", "Days that events are kept; 0: forever"),
    open("retain_samples_days", "VGPO_RETAIN_SAMPLES_DAYS", "0", "Days that sample rollouts are kept after the end of their run; 0: forever"),
    open("retain_metrics_days", "VGPO_RETAIN_METRICS_DAYS", "0", "Days that metrics are kept after the end of their run; 0: forever"),
    open("retain_checkpoints_days", "VGPO_RETAIN_CHECKPOINTS_DAYS", "0", "Days that checkpoints are kept after the end of their run; 0: forever"),
    open("s3_endpoint", "VGPO_S3_ENDPOINT", "", "Address of an S3-compatible store; empty: AWS"),
    open("s3_region", "VGPO_S3_REGION", "", "Region of the store"),
    secret("s3_access_key_id", "VGPO_S3_ACCESS_KEY_ID", "", "Access key id for the store"),
    secret("s3_secret_access_key", "VGPO_S3_SECRET_ACCESS_KEY", "", "Its secret access key"),
    open("artifact_cache_bytes", "VGPO_ARTIFACT_CACHE_BYTES", "107374182400", "Bytes of files from a bucket that are cached on this machine, besides those in use; 0: no limit"),
    open("roles", "VGPO_ROLES", "api,engine,worker", "What the server does: any of `api`, `engine` and `worker`, separated by commas"),
    open("devices", "VGPO_DEVICES", "cpu", "Devices of local workers, separated by commas, e.g. `cuda:0,cuda:1`; `none` for no workers"),
    open("ranks", "VGPO_RANKS", "1", "Processes that a worker may start for one job (`resources.ranks`)"),
    open("launcher", "VGPO_LAUNCHER", "mpirun -n {ranks} --bind-to none", "Starts `{ranks}` processes of one job"),
    open("rank_silence_seconds", "VGPO_RANK_SILENCE_SECONDS", "60", "Silence after which a rank counts as lost"),
    open("engine_device", "VGPO_ENGINE_DEVICE", "cpu", "Device that models are served on"),
    open("share_gpu", "VGPO_SHARE_GPU", "false", "`true`: a GPU may be `engine_device` and one of `devices` at the same time"),
    open("advertise", "VGPO_ADVERTISE", "", "Address under which servers without an engine reach this one's, e.g. `http://gpu-1:8080`; empty: where it listens, for a server with `engine` and without `api`"),
    secret("engine_secret", "VGPO_ENGINE_SECRET", "", "Secret that servers and engines on other machines share, at least 32 characters"),
    open("engine_weights", "VGPO_ENGINE_WEIGHTS", "native", "Number format of served weights: `native`, `q8_0` or `q4_0` (less memory, less exact answers)"),
    open("allowed_hosts", "VGPO_ALLOWED_HOSTS", "", "Host names that requests may use besides loopback names and `host`, separated by commas"),
    open("allowed_origins", "VGPO_ALLOWED_ORIGINS", "", "Origins of web pages that may use the API from a browser, separated by commas"),
    open("auth", "VGPO_AUTH", "auto", "`auto`: requests need a key once one exists or other hosts can reach the server; `required`; `off`"),
    open("image_hosts", "VGPO_IMAGE_HOSTS", "", "Hosts that images may be fetched from, separated by commas; empty: none"),
    open(
        "webhook_hosts",
        "VGPO_WEBHOOK_HOSTS",
        "",
        "Hosts that webhooks of rewards and alerts may name, separated by commas; empty: none",
    ),
    secret("webhook_secret", "VGPO_WEBHOOK_SECRET", "", "Signs requests to webhooks; empty: they are not signed"),
    open("rollout_hosts", "VGPO_ROLLOUT_HOSTS", "", "Hosts whose servers may sample for jobs, by commas; empty: none"),
    secret("rollout_key", "VGPO_ROLLOUT_KEY", "", "API key that these servers ask for; empty: none is sent"),
    open("mlflow_url", "VGPO_MLFLOW_URL", "", "MLflow server that jobs may report to; empty: none"),
    secret("mlflow_token", "VGPO_MLFLOW_TOKEN", "", "Bearer token for it; empty: none is sent"),
    open("trackio_url", "VGPO_TRACKIO_URL", "", "trackio server that jobs may report to; empty: none"),
    secret("trackio_write_token", "VGPO_TRACKIO_WRITE_TOKEN", "", "Its write token; empty: none is sent"),
    open("max_running_jobs_per_project", "VGPO_MAX_RUNNING_JOBS_PER_PROJECT", "0", "Jobs of a project that run at the same time; 0: no limit"),
    open("max_gpus_per_project", "VGPO_MAX_GPUS_PER_PROJECT", "0", "GPUs that the running jobs of a project hold at the same time; 0: no limit"),
    open("max_bytes_per_project", "VGPO_MAX_BYTES_PER_PROJECT", "0", "Bytes of a project's checkpoints and data sets, beyond which uploads and jobs are refused; 0: no limit"),
    open("projects", "VGPO_PROJECTS", "", "Limits of single projects, e.g. `{ vision = { running_jobs = 2, gpus = 1, bytes = 500000000000 } }`"),
    open("max_requests_per_minute", "VGPO_MAX_REQUESTS_PER_MINUTE", "6000", "Requests of one key, or of one address without keys"),
    open("max_concurrent_answers", "VGPO_MAX_CONCURRENT_ANSWERS", "32", "Answers of the engine that one key may wait for at the same time"),
    open("max_streams", "VGPO_MAX_STREAMS", "100", "Live streams of one key at the same time; of all callers without a key together"),
    open("max_connections", "VGPO_MAX_CONNECTIONS", "4096", "Connections at the same time, where the limit of open files leaves room for them"),
    open("max_body_bytes", "VGPO_MAX_BODY_BYTES", "33554432", "Bytes of the body of a request other than an upload; most addresses accept less"),
    open("max_bodies_bytes", "VGPO_MAX_BODIES_BYTES", "134217728", "Bytes of such bodies in memory at the same time; a request beyond that gets 503"),
    open("max_image_bytes", "VGPO_MAX_IMAGE_BYTES", "20971520", "Bytes of one encoded image"),
    open("max_image_pixels", "VGPO_MAX_IMAGE_PIXELS", "50000000", "Pixels of one image, read from its header before it is decoded"),
    open("dataset_roots", "VGPO_DATASET_ROOTS", "", "Folders from which data sets may be registered in place, separated by commas; empty: none"),
    open("model_roots", "VGPO_MODEL_ROOTS", "", "Folders below which requests may name models of this machine, to register and for the reward image_text, separated by commas; empty: none"),
    open("hub_models", "VGPO_HUB_MODELS", "admin", "Lowest role that may register models of the hub, whose chat templates run in this program: `admin` or `user`"),
    open("hf_endpoint", "HF_ENDPOINT", "https://huggingface.co", "Address of the hub that models and data sets are fetched from"),
    open("hf_cache", "VGPO_HF_CACHE", "", "Folder of fetched files, in the layout of Hugging Face's own cache; empty: inside the data folder"),
    secret("hf_token", "VGPO_HF_TOKEN", "", "Access token for the hub"),
    open("max_dataset_bytes", "VGPO_MAX_DATASET_BYTES", "53687091200", "Bytes of an upload, and of what its archives unpack to"),
    open("max_dataset_files", "VGPO_MAX_DATASET_FILES", "500000", "Files of a data set"),
    open("max_map_values", "VGPO_MAX_MAP_VALUES", "4000000", "Values of attention maps in one answer"),
    open("max_queued_requests", "VGPO_MAX_QUEUED_REQUESTS", "64", "Requests that may wait for one model"),
    open("max_queued_tokens", "VGPO_MAX_QUEUED_TOKENS", "524288", "Tokens that the accepted requests of one model may still need"),
    open("engine_batch_rows", "VGPO_ENGINE_BATCH_ROWS", "32", "Rows that the engine decodes together"),
    open("engine_prefill_chunk_tokens", "VGPO_ENGINE_PREFILL_CHUNK_TOKENS", "512", "Prompt tokens that the engine prefills between two decoding steps"),
    open("engine_prompt_memory_bytes", "VGPO_ENGINE_PROMPT_MEMORY_BYTES", "268435456", "Bytes of the prefix cache of each model"),
    open("engine_loaded_models", "VGPO_ENGINE_LOADED_MODELS", "3", "Models that the engine keeps in memory"),
    open("memory_limit", "VGPO_MEMORY_LIMIT", "0", "Most bytes that a job may need; 0: the memory of its device"),
    open("request_timeout_seconds", "VGPO_REQUEST_TIMEOUT_SECONDS", "300", "Seconds that a request, or a pause in an upload, may take"),
];
