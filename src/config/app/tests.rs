//! Where settings come from, and what is said about bad ones.

use super::*;

fn load(
    flags: &[(&'static str, String)],
    env: &[(&str, &str)],
    file: Option<&Path>,
) -> Result<AppSettings, ConfigError> {
    let environment = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    AppSettings::load(&Sources { flags, environment: &environment, file })
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vgpo.toml");
    std::fs::write(&file, "port = 1\nhost = \"file\"\ndevices = [\"cpu\", \"cpu\"]\nmax_map_values = 7\n").unwrap();
    let env = [("VGPO_PORT", "2"), ("VGPO_HOST", "env")];
    let settings = load(&[("port", "3".to_owned())], &env, Some(&file)).unwrap();
    assert_eq!((settings.port, settings.host.as_str(), settings.limits.map_values), (3, "env", 7));
    assert_eq!(settings.devices, ["cpu", "cpu"]);
    assert_eq!(settings.database_url, "sqlite:./vgpo-data/vgpo.db");
    let source = |key: &str| settings.shown().iter().find(|s| s.key == key).unwrap().source.to_string();
    assert_eq!((source("port").as_str(), source("host").as_str()), ("flag", "environment VGPO_HOST"));
    assert!(source("max_map_values").starts_with("file "));
    assert_eq!(source("data_dir"), "default");
}

#[test]
fn faults_name_setting_value_and_limit() {
    let error = load(&[], &[("VGPO_PORT", "70000")], None).unwrap_err().to_string();
    assert!(error.contains("port") && error.contains("70000") && error.contains("65535"), "{error}");
    let error = load(&[], &[("VGPO_ENGINE_DEVICE", "gpu")], None).unwrap_err().to_string();
    assert!(error.contains("VGPO_ENGINE_DEVICE") && error.contains("use cpu, cuda:N or metal:N"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vgpo.toml");
    std::fs::write(&file, "prot = 1").unwrap();
    let error = load(&[], &[], Some(&file)).unwrap_err().to_string();
    assert!(error.contains("did you mean `port`"), "{error}");
    assert!(load(&[], &[], Some(Path::new("/nowhere/vgpo.toml"))).is_err());
}

#[test]
fn limits_of_the_engine_are_settings_with_ranges() {
    let env = [("VGPO_ENGINE_BATCH_ROWS", "4"), ("VGPO_MAX_QUEUED_TOKENS", "1000")];
    let limits = load(&[("engine_batch_rows", "5".to_owned())], &env, None).unwrap().limits;
    assert_eq!(limits, Limits { batch_rows: 5, queued_tokens: 1000, ..Limits::default() });
    for (name, value) in [("VGPO_ENGINE_BATCH_ROWS", "0"), ("VGPO_ENGINE_LOADED_MODELS", "many")] {
        let error = load(&[], &[(name, value)], None).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value) && error.contains("from 1 to"), "{error}");
    }
}

#[test]
fn secrets_come_from_files_and_are_masked() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("url");
    std::fs::write(&secret, "postgres://vgpo:p@ss:w@db:5432/vgpo\n").unwrap();
    let settings = load(&[], &[("VGPO_DATABASE_URL_FILE", secret.to_str().unwrap())], None).unwrap();
    assert_eq!(settings.database_url, "postgres://vgpo:p@ss:w@db:5432/vgpo");
    let shown = settings.shown().iter().find(|s| s.key == "database_url").unwrap();
    assert_eq!(shown.value, "postgres://vgpo:***@db:5432/vgpo");
    assert_eq!(mask("sqlite:./x.db"), "sqlite:./x.db");
}
