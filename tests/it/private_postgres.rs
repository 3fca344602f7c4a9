//! A private Postgres through its whole life, with real servers and real `kill -9`.
//!
//! As root, Postgres runs as another user, and more cases are tested than as anybody else.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User},
};
use stillframe::private_postgres::{PrivatePostgres, Settings, StartError};
use tempfile::TempDir;

const DATA_DIR_VARIABLE: &str = "STILLFRAME_TEST_DATA_DIR";

/// A directory that everybody can enter: unlike a plain temporary one, which is root's alone.
fn base() -> TempDir {
    base_with_mode(0o755)
}

fn base_with_mode(mode: u32) -> TempDir {
    let permissions = fs::Permissions::from_mode(mode);
    let builder = tempfile::Builder::new()
        .prefix("stillframe-test-")
        .permissions(permissions.clone())
        .tempdir_in("/tmp");
    let dir = builder.unwrap();
    fs::set_permissions(dir.path(), permissions).unwrap();
    dir
}

fn settings(base: &TempDir) -> Settings {
    Settings {
        data_dir: base.path().join("data/postgres"),
        fsync: false,
        max_connections: 20,
    }
}

fn is_root() -> bool {
    Uid::effective().is_root()
}

fn user(name: &str) -> User {
    User::from_name(name).unwrap().unwrap()
}

/// Who Postgres runs as in these tests unless a test says otherwise.
fn postgres_uid() -> u32 {
    if is_root() {
        user("postgres").uid.as_raw()
    } else {
        Uid::effective().as_raw()
    }
}

fn psql(url: &str, sql: &str) -> String {
    let mut command = Command::new("psql");
    // Drivers fill gaps of the URL from these: it must have none.
    command
        .env("PGPORT", "1")
        .env("PGHOST", "nowhere.invalid")
        .env("PGSSLMODE", "require");
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A zombie counts as gone.
fn is_running(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn postmaster_pid(data_dir: &Path) -> i32 {
    let content = fs::read_to_string(data_dir.join("postmaster.pid")).unwrap();
    content.lines().next().unwrap().parse().unwrap()
}

/// Processes with `text` in their command line.
fn processes_of(text: &Path) -> Vec<i32> {
    let text = text.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    })
    .collect()
}

fn drafts(settings: &Settings) -> Vec<PathBuf> {
    let entries = fs::read_dir(settings.data_dir.parent().unwrap())
        .into_iter()
        .flatten()
        .flatten();
    let is_draft = |path: &PathBuf| path.to_str().unwrap().contains(".initdb-");
    entries.map(|entry| entry.path()).filter(is_draft).collect()
}

/// Source chain in one line, as the command line prints it.
fn chain(error: &StartError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Another process that runs [`service`].
struct Service {
    child: Child,
    stdin: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

impl Service {
    fn spawn(settings: &Settings, user: Option<&User>) -> Self {
        Self::spawn_with_temp_dir(settings, user, Path::new("/tmp"))
    }

    fn spawn_with_temp_dir(settings: &Settings, user: Option<&User>, temp_dir: &Path) -> Self {
        let name = match module_path!().split_once("::") {
            Some((_, module)) => format!("{module}::service"),
            None => "service".to_owned(),
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&name, "--exact", "--ignored", "--nocapture"]);
        command
            .env(DATA_DIR_VARIABLE, &settings.data_dir)
            .env("PGPORT", "1")
            .env("PGDATA", "/nowhere")
            .env("TMPDIR", temp_dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
        if let Some(user) = user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let mut child = command.spawn().unwrap();
        let (stdin, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, output }
    }

    /// What follows `key=` in the next line of the output that has it.
    fn answer(&mut self, key: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let len = self.output.read_line(&mut line).unwrap();
            assert_ne!(len, 0, "the service ended without {key}=: {seen}");
            if let Some((_, value)) = line.split_once(&format!("{key}=")) {
                return value.trim().to_owned();
            }
            seen += &line;
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it stop Postgres, and returns what it says.
    fn stop(mut self) -> String {
        drop(self.stdin.take());
        let answer = self.answer("STOPPED");
        assert!(self.child.wait().unwrap().success());
        answer
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the service that other tests run as a process of its own, until stdin ends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by other tests"]
async fn service() {
    let Some(data_dir) = std::env::var_os(DATA_DIR_VARIABLE) else {
        return;
    };
    let settings = Settings {
        data_dir: data_dir.into(),
        fsync: false,
        max_connections: 20,
    };
    let postgres = match PrivatePostgres::start(&settings).await {
        Ok(postgres) => postgres,
        Err(error) => return println!("ERROR={}", chain(&error).replace('\n', " ")),
    };
    println!("SOCKET={}", postgres.socket_dir().display());
    println!("URL={}", postgres.database_url());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("STOPPED={:?}", postgres.stop().await);
}

#[tokio::test]
async fn data_is_kept_from_start_to_start() {
    let base = base();
    let settings = settings(&base);
    let first = PrivatePostgres::start(&settings).await.unwrap();
    let pid = postmaster_pid(&settings.data_dir);
    assert_eq!(
        psql(first.database_url(), "select current_user, current_database()"),
        "stillframe|stillframe"
    );
    assert_eq!(psql(first.database_url(), "show listen_addresses"), "");
    assert_eq!(psql(first.database_url(), "show max_connections"), "20");
    assert_eq!(psql(first.database_url(), "show server_encoding"), "UTF8");
    assert_eq!(psql(first.database_url(), "show lc_ctype"), "C.UTF-8");
    psql(first.database_url(), "create table t as select 42 as answer");

    let metadata = fs::metadata(first.socket_dir()).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o700, postgres_uid()));
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), postgres_uid());
    assert_eq!(fs::metadata(&settings.data_dir).unwrap().uid(), postgres_uid());
    // Ctrl-C in a terminal goes to the whole process group of the service.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group = stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().to_owned();
    assert_eq!(group, pid.to_string());
    // Empty where another user's processes can't be looked into, as for root in some containers.
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let files: Vec<_> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    assert!(!files.contains(&base.path().join("data/postgres.lock")), "{files:?}");

    let socket_dir = first.socket_dir().to_owned();
    first.stop().await.unwrap();
    assert!(!is_running(pid) && !socket_dir.exists());

    let second = PrivatePostgres::start(&settings).await.unwrap();
    assert_eq!(psql(second.database_url(), "select answer from t"), "42");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn an_existing_empty_directory_a_relative_path_and_a_blank_will_do() {
    let base = base();
    let data_dir = base.path().join("da ta,/postgres");
    fs::create_dir_all(&data_dir).unwrap();
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    let relative = PathBuf::from(up).join(data_dir.strip_prefix("/").unwrap());
    let settings = Settings {
        data_dir: relative,
        ..settings(&base)
    };
    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    assert_eq!(psql(postgres.database_url(), "select 1"), "1");
    assert!(data_dir.join("PG_VERSION").exists());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn with_fsync() {
    let base = base();
    let settings = Settings {
        fsync: true,
        ..settings(&base)
    };
    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    assert_eq!(psql(postgres.database_url(), "show fsync"), "on");
    assert_eq!(psql(postgres.database_url(), "show synchronous_commit"), "on");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_drop_stops_it() {
    let base = base();
    let settings = settings(&base);
    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    let (pid, socket_dir) = (postmaster_pid(&settings.data_dir), postgres.socket_dir().to_owned());
    drop(postgres);
    assert!(!is_running(pid) && !socket_dir.exists());
}

#[tokio::test]
async fn a_second_service_is_refused() {
    let base = base();
    let settings = settings(&base);
    let mut other = Service::spawn(&settings, None);
    other.answer("URL");
    let error = PrivatePostgres::start(&settings).await.unwrap_err();
    let expected = format!(
        "data directory {} is in use by another stillframe (pid {})",
        settings.data_dir.display(),
        other.child.id()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(other.stop(), "Ok(())");

    // The same from one process, and through a link.
    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    let link = base.path().join("link");
    std::os::unix::fs::symlink(&settings.data_dir, &link).unwrap();
    let linked = Settings {
        data_dir: link,
        ..settings.clone()
    };
    let error = PrivatePostgres::start(&linked).await.unwrap_err();
    assert!(
        matches!(&error, StartError::InUse { pid, .. } if *pid == std::process::id().to_string()),
        "{error}"
    );
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_service_leaves_no_obstacle() {
    let base = base();
    let settings = settings(&base);
    for round in 0..3 {
        let mut service = Service::spawn(&settings, None);
        let socket_dir = PathBuf::from(service.answer("SOCKET"));
        let url = service.answer("URL");
        psql(&url, &format!("create table t{round} ()"));
        let pid = postmaster_pid(&settings.data_dir);
        service.kill();
        // At once: the old server may or may not be stopping by itself.
        let postgres = PrivatePostgres::start(&settings).await.unwrap();
        assert!(!is_running(pid) && !socket_dir.exists());
        psql(postgres.database_url(), &format!("select from t{round}"));
        postgres.stop().await.unwrap();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_stops_the_server_of_a_killed_service() {
    let base = base();
    let settings = settings(&base);
    let mut service = Service::spawn(&settings, None);
    service.answer("URL");
    let pid = postmaster_pid(&settings.data_dir);
    service.kill();
    wait_until("postgres has stopped", || !is_running(pid));
    assert!(
        !settings.data_dir.join("postmaster.pid").exists(),
        "this was no clean shutdown"
    );
    let log = fs::read_to_string(base.path().join("data/postgres.log")).unwrap();
    assert!(log.contains("fast shutdown"), "{log}");
    // Its socket directory is still there; the next start removes it.
    let lock = fs::read_to_string(base.path().join("data/postgres.lock")).unwrap();
    let socket_dir = PathBuf::from(lock.lines().nth(1).unwrap());
    assert!(socket_dir.is_dir());
    PrivatePostgres::start(&settings).await.unwrap().stop().await.unwrap();
    assert!(!socket_dir.exists());
}

/// A command that runs as the user of Postgres.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if is_root() {
        let user = user("postgres");
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

fn postgres_binary() -> PathBuf {
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().collect();
    found.sort_by_key(fs::DirEntry::file_name);
    found.pop().unwrap().path().join("bin/postgres")
}

/// What remains where the kernel didn't signal the server.
#[tokio::test]
async fn an_orphan_is_stopped() {
    let base = base();
    let settings = settings(&base);
    PrivatePostgres::start(&settings).await.unwrap().stop().await.unwrap();
    let socket_dir = base_with_mode(0o777);
    let mut command = as_postgres(postgres_binary().to_str().unwrap());
    command
        .arg("-D")
        .arg(&settings.data_dir)
        .args(["-c", "listen_addresses=", "-k"]);
    let mut orphan = command.arg(socket_dir.path()).spawn().unwrap();
    let is_ready = || fs::read_to_string(settings.data_dir.join("postmaster.pid")).is_ok_and(|content| content.contains("ready"));
    wait_until("the orphan is ready", is_ready);

    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    assert!(orphan.try_wait().unwrap().is_some_and(|status| status.success()));
    assert_eq!(psql(postgres.database_url(), "select 1"), "1");
    postgres.stop().await.unwrap();
}

/// After a restart of the machine or container, the pid may be anybody's.
#[tokio::test]
async fn a_stranger_with_the_pid_of_the_old_server_is_left_alone() {
    let base = base();
    let settings = settings(&base);
    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    let pid_file = settings.data_dir.join("postmaster.pid");
    let content = fs::read_to_string(&pid_file).unwrap();
    postgres.stop().await.unwrap();

    let mut stranger = as_postgres("sleep").arg("1000").spawn().unwrap();
    let (_, rest) = content.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", stranger.id())).unwrap();
    chown(&pid_file, Some(postgres_uid()), None).unwrap();
    let result = PrivatePostgres::start(&settings).await;
    let is_alive = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let postgres = result.unwrap();
    assert!(is_alive);
    assert_eq!(psql(postgres.database_url(), "select 1"), "1");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn busy_processes_of_a_killed_server_are_waited_for() {
    let base = base();
    let settings = settings(&base);
    let mut service = Service::spawn(&settings, None);
    let url = service.answer("URL");
    psql(&url, "create table t as select 42 as answer");
    // A busy loop doesn't notice that the main process is gone.
    let sql = "set application_name = 'busy'; select count(*) from generate_series(1, 20000000)";
    let mut busy = Command::new("psql")
        .args(["-XAtqd", &url, "-c", sql])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_busy = "select count(*) from pg_stat_activity where application_name = 'busy' and state = 'active'";
    wait_until("the query runs", || psql(&url, is_busy) == "1");
    kill(Pid::from_raw(postmaster_pid(&settings.data_dir)), Signal::SIGKILL).unwrap();
    service.kill();
    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    busy.wait().unwrap();
    let log = fs::read_to_string(base.path().join("data/postgres.log")).unwrap();
    assert!(log.contains("shared memory block"), "the query was too short: {log}");
    assert_eq!(psql(postgres.database_url(), "select answer from t"), "42");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_service_killed_within_initdb_is_no_obstacle() {
    let base = base();
    let settings = settings(&base);
    let service = Service::spawn(&settings, None);
    let is_halfway = || drafts(&settings).iter().any(|draft| draft.join("global").exists());
    wait_until("initdb is at work", is_halfway);
    service.kill();
    assert!(!settings.data_dir.exists());
    let postgres = PrivatePostgres::start(&settings).await.unwrap();
    assert_eq!(psql(postgres.database_url(), "select 1"), "1");
    postgres.stop().await.unwrap();
    wait_until("nothing runs", || processes_of(base.path()).is_empty());
    // A second start removes what the dying initdb may have put there after the first did.
    PrivatePostgres::start(&settings).await.unwrap().stop().await.unwrap();
    assert_eq!(drafts(&settings), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_given_up_leaves_nothing() {
    let base = base();
    let settings = settings(&base);
    let initdb_runs = async {
        while !drafts(&settings).iter().any(|draft| draft.join("global").exists()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        result = PrivatePostgres::start(&settings) => panic!("it was not given up: {result:?}"),
        () = initdb_runs => {}
    }
    wait_until("nothing runs", || processes_of(base.path()).is_empty());
    PrivatePostgres::start(&settings).await.unwrap().stop().await.unwrap();
    assert_eq!(drafts(&settings), Vec::<PathBuf>::new());
}

/// A directory with programs that pretend to be Postgres of some version.
fn fake_binaries(base: &TempDir, version: &str) -> PathBuf {
    let dir = base.path().join(format!("fake-{version}"));
    fs::create_dir(&dir).unwrap();
    for name in ["postgres", "initdb"] {
        let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\necho broken >&2\n[ \"$1\" = --version ]\n");
        fs::write(dir.join(name), script).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

#[tokio::test]
async fn unfit_binaries_are_explained() {
    let base = base();
    let settings = settings(&base);
    let start = async |search: &[PathBuf]| chain(&PrivatePostgres::start_with_binaries(&settings, search).await.unwrap_err());
    let none = start(&["/nonexistent".into()]).await;
    assert!(
        none.starts_with("no postgres binaries (version 14 or newer) found; install"),
        "{none}"
    );
    assert!(
        none.contains("apt-get install postgresql") && none.contains("DATABASE_URL"),
        "{none}"
    );

    let old = fake_binaries(&base, "9.6.24");
    let error = start(std::slice::from_ref(&old)).await;
    assert!(
        error.contains(&format!("found, only version 9 in {}; install", old.display())),
        "{error}"
    );

    // The log's end is in the error, and the data directory isn't there.
    let error = start(&[fake_binaries(&base, "18.1")]).await;
    assert!(
        error.starts_with("initdb for data directory") && error.contains("(exit status: 1)"),
        "{error}"
    );
    assert!(error.contains("postgres.log:") && error.ends_with("broken"), "{error}");
    assert!(!settings.data_dir.exists() && drafts(&settings).is_empty());

    if is_root() {
        let closed = fake_binaries(&base, "17.0");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let error = start(&[closed]).await;
        assert!(error.contains("user postgres cannot run it: Permission denied"), "{error}");
    }
}

#[tokio::test]
async fn a_data_directory_of_another_version_is_refused() {
    let base = base();
    let settings = settings(&base);
    PrivatePostgres::start(&settings).await.unwrap().stop().await.unwrap();
    let version = fs::read_to_string(settings.data_dir.join("PG_VERSION")).unwrap();
    let search = [fake_binaries(&base, "99.1")];
    let error = PrivatePostgres::start_with_binaries(&settings, &search)
        .await
        .unwrap_err()
        .to_string();
    let expected = format!(
        "data directory {} was made by postgres {}, but the binaries found are version 99 in {};",
        settings.data_dir.display(),
        version.trim(),
        search[0].display()
    );
    assert!(error.starts_with(&expected), "{error}");

    // Fitting ones are found behind others.
    let bin = postgres_binary().parent().unwrap().to_owned();
    let search = [search[0].clone(), bin];
    PrivatePostgres::start_with_binaries(&settings, &search)
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
}

#[tokio::test]
async fn other_things_than_a_data_directory_are_left_alone() {
    let base = base();
    let settings = settings(&base);
    fs::create_dir_all(&settings.data_dir).unwrap();
    fs::write(settings.data_dir.join("precious"), "x").unwrap();
    if !is_root() {
        fs::set_permissions(&settings.data_dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let error = PrivatePostgres::start(&settings).await.unwrap_err();
    assert!(matches!(error, StartError::NotADataDirectory { .. }), "{error}");
    assert!(settings.data_dir.join("precious").exists());
}

#[tokio::test]
async fn a_failed_start_shows_the_log() {
    let base = base();
    let settings = settings(&base);
    PrivatePostgres::start(&settings).await.unwrap().stop().await.unwrap();
    fs::write(settings.data_dir.join("postgresql.auto.conf"), "nonsense = 1\n").unwrap();
    let error = PrivatePostgres::start(&settings).await.unwrap_err().to_string();
    assert!(error.starts_with("postgres for data directory"), "{error}");
    assert!(error.contains("unrecognized configuration parameter \"nonsense\""), "{error}");
    // Only this start's part of the log.
    assert!(!error.contains("database system is ready"), "{error}");
}

#[tokio::test]
async fn root_runs_postgres_as_the_owner() {
    if !is_root() {
        return;
    }
    let base = base();
    let settings = settings(&base);
    let nobody = user("nobody");
    fs::create_dir_all(&settings.data_dir).unwrap();
    chown(&settings.data_dir, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
    for _ in 0..2 {
        let postgres = PrivatePostgres::start(&settings).await.unwrap();
        let pid = postmaster_pid(&settings.data_dir);
        assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), nobody.uid.as_raw());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.lines().any(|line| line.trim_end() == "Groups:"), "{status}");
        postgres.stop().await.unwrap();
    }

    // A copy that root made goes to user postgres, files and all.
    let copy = base.path().join("copy/postgres");
    fs::create_dir(copy.parent().unwrap()).unwrap();
    let status = Command::new("cp")
        .arg("-r")
        .args([&settings.data_dir, &copy])
        .status()
        .unwrap();
    assert!(status.success() && fs::metadata(&copy).unwrap().uid() == 0);
    let copied = Settings {
        data_dir: copy.clone(),
        ..settings
    };
    let postgres = PrivatePostgres::start(&copied).await.unwrap();
    assert_eq!(psql(postgres.database_url(), "select 1"), "1");
    postgres.stop().await.unwrap();
    for path in [&copy, &copy.join("base/1/PG_VERSION")] {
        assert_eq!(fs::metadata(path).unwrap().uid(), postgres_uid());
    }
}

#[tokio::test]
async fn a_directory_closed_to_the_user_is_named() {
    if !is_root() {
        return;
    }
    let closed = base_with_mode(0o700);
    let data_dir = closed.path().join("a/b/postgres");
    let error = PrivatePostgres::start(&Settings {
        data_dir,
        ..settings(&closed)
    })
    .await
    .unwrap_err();
    let expected = format!(
        "because {0} is closed to them; choose another --data-dir, or run `chmod o+x {0}`",
        closed.path().display()
    );
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn another_user_runs_it_as_themselves() {
    if !is_root() {
        return;
    }
    let nobody = user("nobody");
    let base = base();
    chown(base.path(), Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
    let settings = settings(&base);
    let mut service = Service::spawn(&settings, Some(&nobody));
    let url = service.answer("URL");
    psql(&url, "create table t ()");
    let pid = postmaster_pid(&settings.data_dir);
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), nobody.uid.as_raw());
    service.kill();
    let mut service = Service::spawn(&settings, Some(&nobody));
    psql(&service.answer("URL"), "select from t");
    assert_eq!(service.stop(), "Ok(())");
    // Root takes over, as nobody; then nobody again; somebody else may not.
    PrivatePostgres::start(&settings).await.unwrap().stop().await.unwrap();
    let mut service = Service::spawn(&settings, Some(&nobody));
    service.answer("URL");
    assert_eq!(service.stop(), "Ok(())");
    let mut service = Service::spawn(&settings, Some(&user("postgres")));
    let error = service.answer("ERROR");
    assert!(
        error.contains("belongs to user nobody, but this process runs as postgres"),
        "{error}"
    );
}

#[tokio::test]
async fn the_socket_goes_where_it_can() {
    let base = base();
    let settings = settings(&base);
    let long = base.path().join("x".repeat(60));
    let open = base_with_mode(0o1777);
    let closed = base_with_mode(0o700);
    fs::create_dir(&long).unwrap();
    fs::set_permissions(&long, fs::Permissions::from_mode(0o1777)).unwrap();
    let is_closed = is_root();
    for (temp_dir, expected) in [
        (Path::new("/nonexistent"), Path::new("/tmp")),
        (long.as_path(), Path::new("/tmp")),
        (
            &open.path().join("../..").join(open.path().strip_prefix("/").unwrap()),
            open.path(),
        ),
        (closed.path(), if is_closed { Path::new("/tmp") } else { closed.path() }),
    ] {
        let mut service = Service::spawn_with_temp_dir(&settings, None, temp_dir);
        let socket_dir = PathBuf::from(service.answer("SOCKET"));
        assert_eq!(socket_dir.parent(), Some(expected));
        assert_eq!(psql(&service.answer("URL"), "select 1"), "1");
        assert_eq!(service.stop(), "Ok(())");
    }
}
