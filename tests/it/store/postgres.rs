//! A throw-away PostgreSQL cluster, started from the installed programs: one for the whole test process, and an empty
//! database for every test. It ends with the process, however that ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use sqlx::{Connection as _, Executor as _, PgConnection};

/// Makes a cluster in a folder of its own, tells where, and serves until standard input ends: pipes close with their
/// process, even when it is killed. A word on standard input stops (`stop`) or starts (`start`) the server in between.
const SCRIPT: &str = r#"
set -eu
flags=$2
dir=$(mktemp -d "${TMPDIR:-/tmp}/vgpo-pg.XXXXXX")
server=
run() {
    "$1/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=300 $flags >>"$dir/log" 2>&1 &
    server=$!
    until "$1/pg_isready" -q -h "$dir"; do
        kill -0 "$server" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
        sleep 0.05
    done
}
end() {
    [ -z "$server" ] || { kill -INT "$server" 2>/dev/null; wait "$server" 2>/dev/null; } || :
    server=
}
trap 'end; rm -rf "$dir"' EXIT
"$1/initdb" -D "$dir/data" -U vgpo -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >"$dir/log" 2>&1 ||
    { cat "$dir/log" >&2; exit 1; }
run "$1"
echo "$dir"
while read -r word; do
    case $word in
        stop) end ;;
        start) run "$1" ;;
    esac
    echo "$word"
done
"#;

/// Tests need no data after a power cut.
const CARELESS: &str = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=64MB";

/// A running cluster.
pub struct Cluster {
    folder: PathBuf,
    wire: Mutex<(ChildStdin, BufReader<std::process::ChildStdout>)>,
    _script: Child,
    databases: AtomicU32,
}

/// The cluster that tests share; none when PostgreSQL is not installed (said loudly, or a failure where
/// `VGPO_TEST_REQUIRE` lists `postgres`).
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(Cluster::start).as_ref()
}

/// Is this part of the tests' surroundings asked for by `VGPO_TEST_REQUIRE`?
pub fn is_required(part: &str) -> bool {
    std::env::var("VGPO_TEST_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item.trim() == part))
}

/// The folder of the server's programs: the newest version that Debian installed, or where the search path has them.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u32>().ok());
    let mut folders: Vec<_> = versions.map(|entry| entry.path()).filter(|path| version(path).is_some()).collect();
    folders.sort_by_key(|path| version(path));
    let newest = folders.into_iter().rev().map(|path| path.join("bin"));
    let searched = std::env::var_os("PATH").unwrap_or_default();
    newest
        .chain(std::env::split_paths(&searched))
        .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
}

/// PostgreSQL refuses to run as root: then it runs as the user that Debian made for it, or as `nobody`.
fn unprivileged() -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    if !is_root {
        return Command::new("sh");
    }
    let user = if Command::new("id").arg("postgres").output().is_ok_and(|o| o.status.success()) {
        "postgres"
    } else {
        "nobody"
    };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", if user == "nobody" { "nogroup" } else { user }, "--clear-groups", "sh"]);
    command
}

impl Cluster {
    /// A cluster of its own, for tests that stop it.
    pub fn start() -> Option<Self> {
        Self::with(CARELESS)
    }

    /// One that waits for the disk, as PostgreSQL does by default: for measurements.
    #[allow(dead_code, reason = "for measurements")]
    pub fn durable() -> Option<Self> {
        Self::with("")
    }

    fn with(flags: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(!is_required("postgres"), "VGPO_TEST_REQUIRE asks for PostgreSQL: apt-get install postgresql");
            // Past the test harness, which hides what a passing test prints.
            let notice =
                "\nSKIPPED: every test on PostgreSQL, because it is not installed (apt-get install postgresql)\n";
            std::io::stderr().write_all(notice.as_bytes()).unwrap();
            return None;
        };
        let mut command = unprivileged();
        command.args(["-c", SCRIPT, "vgpo-test-cluster"]).arg(programs).arg(flags).current_dir("/");
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh and setpriv");
        let mut lines = BufReader::new(script.stdout.take().unwrap());
        let mut folder = String::new();
        lines.read_line(&mut folder).unwrap();
        assert!(folder.trim().starts_with('/'), "the cluster did not start; see above");
        let wire = Mutex::new((script.stdin.take().unwrap(), lines));
        Some(Self { folder: folder.trim().into(), wire, _script: script, databases: AtomicU32::new(0) })
    }

    fn command(&self, word: &str) {
        let mut wire = self.wire.lock().unwrap();
        writeln!(wire.0, "{word}").unwrap();
        let mut answer = String::new();
        wire.1.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), word);
    }

    /// Ends the server as an administrator does; what was committed is kept.
    pub fn stop(&self) {
        self.command("stop");
    }

    /// Starts it again.
    pub fn start_again(&self) {
        self.command("start");
    }

    /// The server's own socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    /// The address of a database, as users write it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://vgpo@localhost/{database}?host={}", self.folder.display())
    }

    /// Makes an empty database and returns its name.
    pub async fn create(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        name
    }

    /// Removes a database whose test has passed.
    pub async fn drop(&self, database: &str) {
        self.execute("postgres", &format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }

    /// Runs statements.
    pub async fn execute(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The first column of a query's rows.
    pub async fn texts(&self, database: &str, sql: &'static str) -> Vec<String> {
        use sqlx::Row as _;
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}
