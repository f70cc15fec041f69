//! The sources of settings, and errors about bad ones.

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

#[test]
fn roles_say_what_a_server_does() {
    let roles = |value: &str| load(&[("roles", value.to_owned())], &[], None).map(|settings| settings.roles);
    assert_eq!(load(&[], &[], None).unwrap().roles, Roles::ALL);
    assert_eq!(roles("engine, api").unwrap(), Roles { api: true, engine: true, worker: false });
    assert_eq!(roles("worker").unwrap().to_string(), "worker");
    for wrong in ["", "api,", "api,apis", "all"] {
        let told = roles(wrong).map_or_else(|error| error.to_string(), |roles| roles.to_string());
        assert!(told.contains("api, engine, worker") || wrong == "api," && told == "api", "{wrong}: {told}");
    }
}

#[test]
fn a_gpu_serves_or_trains_unless_it_is_told_to_do_both() {
    let check = |engine: &str, devices: &str, more: &[(&'static str, &str)]| {
        let mut flags = vec![("engine_device", engine.to_owned()), ("devices", devices.to_owned())];
        flags.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        load(&flags, &[], None).unwrap().check_roles()
    };
    for devices in ["cuda:0", "cpu,cuda"] {
        assert_eq!(check("cuda:0", devices, &[]), Err(RoleError::SharedGpu("cuda:0".to_owned())));
    }
    let secret = ("engine_secret", "0123456789abcdef0123456789abcdef");
    for (engine, devices, more) in [
        ("cuda:1", "cuda:0", &[][..]),
        ("cpu", "cpu", &[]),
        ("cuda:0", "cuda:0", &[("share_gpu", "true")]),
        ("cuda:0", "cuda:0", &[("roles", "api,engine")]),
        ("cuda:0", "cuda:0", &[("roles", "api,worker"), secret]),
    ] {
        assert_eq!(check(engine, devices, more), Ok(()), "{engine} with {devices}");
    }
}

#[test]
fn an_engine_is_found_and_nobody_else_finds_it_open() {
    let secret = "0123456789abcdef0123456789abcdef";
    let with = |roles: &str, host: &str, advertise: &str, secret: &str| {
        let given = [("roles", roles), ("host", host), ("advertise", advertise), ("engine_secret", secret)];
        load(&given.map(|(key, value)| (key, value.to_owned())), &[], None)
    };
    let check = |roles: &str, host: &str, advertise: &str, secret: &str| {
        with(roles, host, advertise, secret).unwrap().check_roles()
    };
    for roles in ["api", "engine", "engine,worker", "api,worker"] {
        assert!(matches!(check(roles, "127.0.0.1", "", ""), Err(RoleError::NoSecret(_))), "{roles}");
        assert_eq!(check(roles, "127.0.0.1", "", secret), Ok(()), "{roles}");
    }
    assert_eq!(check("worker", "127.0.0.1", "", ""), Ok(()));
    assert_eq!(check("engine", "::", "", secret), Err(RoleError::NoAddress("::".to_owned())));
    assert_eq!(check("engine", "::", "http://gpu-1:8080/", secret), Ok(()));
    assert_eq!(with("engine", "::", "http://gpu-1:8080/", secret).unwrap().advertise, "http://gpu-1:8080");
    for address in ["gpu-1:8080", "https://gpu-1", "http://", "http://a/b", "http://user@a"] {
        let told = with("engine", "::", address, secret).unwrap_err().to_string();
        assert!(told.contains("advertise") && told.contains("http://gpu-1:8080"), "{told}");
    }
    for wrong in ["short", "has a space in it has a space in it"] {
        let told = with("engine", "::", "", wrong).unwrap_err().to_string();
        assert!(told.contains("engine_secret") && !told.contains(wrong), "{told}");
    }
}

#[test]
fn logs_lie_where_hosts_that_share_artifacts_find_them() {
    let logs = |artifacts: &str| {
        let flags = [("data_dir", "/data".to_owned()), ("artifacts_url", artifacts.to_owned())];
        load(&flags, &[], None).unwrap().logs_dir()
    };
    assert_eq!(logs(""), Path::new("/data/logs"));
    assert_eq!(logs("file:/data/artifacts"), Path::new("/data/logs"));
    assert_eq!(logs("file:///shared/files"), Path::new("/shared/files/logs"));
    assert_eq!(logs("s3://bucket/vgpo"), Path::new("/data/logs"));
}
