//! Clients that mean harm, against the real binary: the service stays up, answers others, and its
//! memory is bounded.

mod h2;
mod many;
mod milvus;
mod readers;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::support::postgres;

const MIB: u64 = 1024 * 1024;
/// How long an answer may take on a busy machine. What these tests look for would take for ever.
const PATIENCE: Duration = Duration::from_secs(30);

async fn service(directory: &Path, args: &[&str]) -> Service {
    let database = postgres::url(&postgres::empty_database().await);
    let common = [
        "--no-fsync",
        "--log",
        "warn,stillframe::app=info",
        "--workers",
        "1",
        "--gc-interval-seconds",
        "0",
        "--database-url",
        &database,
    ];
    Service::start(directory, &[common.as_slice(), args].concat())
}

/// A client that makes a connection for every call.
fn client() -> &'static reqwest::Client {
    static CLIENT: std::sync::LazyLock<reqwest::Client> = std::sync::LazyLock::new(|| {
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.timeout(PATIENCE).build().expect("a client")
    });
    &CLIENT
}

impl Service {
    fn address(&self) -> String {
        let (_, address) = self.url.split_once("://").expect("a URL");
        address.to_string()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("connects")
    }

    /// Sends bytes and gives what comes back until the service closes the connection; that it
    /// closes while bytes are still on their way is no failure.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }

    /// Others are answered, quickly.
    async fn answers_others(&self) {
        self.answers(client()).await;
    }

    async fn answers(&self, client: &reqwest::Client) {
        let began = Instant::now();
        for path in ["/healthz", "/v1/collections"] {
            let answer = client.get(format!("{}{path}", self.url)).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 200, "{path}");
        }
        assert!(began.elapsed() < 2 * PATIENCE);
    }

    /// Others are answered, now or when those that are in the way have been given up.
    async fn answers_others_again(&self) {
        let began = Instant::now();
        for path in ["/healthz", "/v1/collections"] {
            // each on a connection of its own: the place of the one before may not be free yet, and no other one is
            let asked = format!("{}{path}", self.url);
            while !client().get(&asked).send().await.is_ok_and(|answer| answer.status() == 200) {
                assert!(began.elapsed() < 2 * PATIENCE, "nobody else was let in");
            }
        }
    }

    /// Bytes of memory that it holds, or held at most (`VmHWM`).
    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("runs");
        let line = status.lines().find(|l| l.starts_with(which)).expect("is listed");
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<u64>().ok())
            .expect("a number")
            * 1024
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes))
        .await
        .expect("it is closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn post(length: usize, more: &str) -> String {
    format!("POST /v1/databases HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n")
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_are_given_up() {
    let directory = directory();
    let service = service(
        directory.path(),
        &["--header-timeout-seconds", "1", "--body-timeout-seconds", "1"],
    )
    .await;
    let mut silent = service.connect().await;
    let mut half = service.connect().await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.expect("sent");
    let mut dripping = service.connect().await;
    dripping.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("sent");
    let drip = async {
        let began = Instant::now();
        // a byte now and then must not keep it open
        while dripping.write_all(b"x-a: b\r\n").await.is_ok() && began.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "a dripping head was not given up");
    };
    let body = async {
        let said = service.say(format!("{}{{\"name\":", post(100, "")).as_bytes()).await;
        assert!(
            said.starts_with("HTTP/1.1 408 ") && said.contains("\"body_timeout\""),
            "{said}"
        );
    };
    tokio::join!(
        drip,
        body,
        async { assert!(!rest(&mut silent).await.contains(" 200 ")) },
        async {
            assert!(!rest(&mut half).await.contains(" 200 "));
        }
    );
    service.answers_others().await;
}

#[tokio::test]
async fn a_connection_that_answers_is_never_closed_to_make_room() {
    let directory = directory();
    let service = service(
        directory.path(),
        &[
            "--max-clients",
            "20",
            "--max-clients-per-address",
            "20",
            "--body-timeout-seconds",
            "60",
        ],
    )
    .await;
    let mut busy = service.connect().await;
    busy.write_all(post(17, "").as_bytes()).await.expect("sent");
    service.answers_others().await;
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(service.connect().await);
    }
    service.answers_others().await;
    busy.write_all(b"{\"name\": \"mine\"} ").await.expect("sent");
    let mut answer = vec![0; 12];
    busy.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 201");
}

#[tokio::test]
async fn bodies_beyond_reason_are_refused_early_and_memory_is_bounded() {
    let directory = directory();
    let service = service(directory.path(), &["--max-body-bytes", "8388608"]).await;
    service.answers_others().await;
    let before = service.memory("VmRSS");

    // 1 GB that is announced: refused before any of it is sent
    let said = service.say(post(1 << 30, "connection: close\r\n").as_bytes()).await;
    assert!(
        said.starts_with("HTTP/1.1 413 ") && said.contains("\"payload_too_large\""),
        "{said}"
    );
    // 1 GB that is not announced: given up at the limit
    let mut stream = service.connect().await;
    let head = "POST /v1/databases HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 1024 && stream.write_all(&chunk).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 100, "{sent} MiB were taken");
    service.answers_others().await;

    // many bombs at the same time: 64 MiB of spaces in 64 KiB each
    let bomb = bomb(64 << 20);
    let sizes = "content-encoding: gzip\r\nconnection: close\r\n";
    let request = [post(bomb.len(), sizes).as_bytes(), &bomb].concat();
    let answers = futures::future::join_all((0..24).map(|_| service.say(&request))).await;
    for said in &answers {
        assert!(
            said.starts_with("HTTP/1.1 413 ") || said.starts_with("HTTP/1.1 503 ") || said.is_empty(),
            "{said}"
        );
    }
    assert!(
        answers.iter().any(|said| said.contains("\"payload_too_large\"")),
        "{answers:?}"
    );

    // and JSON nested deeper than any stack
    let deep = format!("{{\"name\": {}", "[".repeat(4 << 20));
    let said = service
        .say(&[post(deep.len(), "connection: close\r\n").as_bytes(), deep.as_bytes()].concat())
        .await;
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
    service.answers_others().await;
    let grown = service.memory("VmHWM").saturating_sub(before);
    // four bodies of 8 MiB at the same time, twice while they grow, and what the allocator keeps
    assert!(grown < 160 * MIB, "{} MiB", grown / MIB);
}

/// Spaces, compressed.
fn bomb(size: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&piece).expect("in memory");
    }
    encoder.finish().expect("in memory")
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let directory = directory();
    let service = service(directory.path(), &[]).await;
    let many: String = (0..5000).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let long = format!("x-long: {}\r\n", "a".repeat(1 << 20));
    let path = format!(
        "GET /v1/collections?name_prefix={} HTTP/1.1\r\nhost: x\r\n\r\n",
        "a".repeat(1 << 20)
    );
    // one header more than may be: all of it is read, and the answer comes for sure
    let one_more: String = (0..100).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let said = service
        .say(format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{one_more}\r\n").as_bytes())
        .await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    assert!(said.ends_with("\r\n\r\n"), "no body, as the document says: {said}");
    let as_many: String = (0..97).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let said = service
        .say(format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{as_many}\r\n").as_bytes())
        .await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    for flood in [
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{long}\r\n"),
        path,
    ] {
        let said = service.say(flood.as_bytes()).await;
        // it may close the connection before all of it was sent, and the answer is lost with it
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 431 ") || said.starts_with("HTTP/1.1 414 "),
            "{said}"
        );
    }
    // heads that never end, on many connections
    let floods = (0..50).map(|_| async {
        let mut stream = service.connect().await;
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        while stream
            .write_all(&[b"x: ".as_slice(), &[b'a'; 8192], b"\r\n"].concat())
            .await
            .is_ok()
        {}
    });
    futures::future::join_all(floods).await;
    service.answers_others().await;
    assert!(service.memory("VmHWM") < 250 * MIB, "{} MiB", service.memory("VmHWM") / MIB);
}
