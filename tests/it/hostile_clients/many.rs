//! Thousands of connections at the same time. Those of `make test` come in the number that any limit of open
//! files allows and take seconds; ten times as many are for `make test-long`.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{MIB, post, rest, service};
use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::security::tls::Certificates;

/// Lets this process, and those that it starts, open as many files as may be.
fn open_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
}

/// Connections that have said something, opened a hundred at a time.
async fn connections(service: &Service, count: usize, said: impl Fn(usize) -> Vec<u8>) -> Vec<TcpStream> {
    let connect = |n: usize| {
        let said = said(n);
        async move {
            let mut stream = service.connect().await;
            stream.write_all(&said).await.expect("sent");
            stream
        }
    };
    let opening = futures::stream::iter((0..count).map(connect)).buffered(100);
    opening.collect().await
}

/// What `count` connections may cost the service, with what the allocator keeps.
fn allowed(count: usize) -> u64 {
    60 * MIB + count as u64 * 48 * 1024
}

async fn half_open(count: usize, clients: usize) {
    open_many_files();
    let directory = directory();
    let limit = clients.to_string();
    let limits = ["--max-clients", &limit, "--max-clients-per-address", &limit];
    let patient = ["--header-timeout-seconds", "600"];
    let service = service(directory.path(), &[limits.as_slice(), &patient].concat()).await;
    service.answers_others().await;
    let before = service.memory("VmRSS");
    // every kind of unfinished request
    let said: [&[u8]; 3] = [b"", b"G", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: "];
    let mut open = connections(&service, count, |n| said[n % 3].to_vec()).await;
    service.answers_others().await;
    let grown = service.memory("VmHWM").saturating_sub(before);
    eprintln!("{count} half-open, at most {clients} at once: {} MiB", grown / MIB);
    assert!(grown < allowed(count), "{count} connections took {} MiB", grown / MIB);
    // the first ones were closed to make room
    if count > clients {
        assert_eq!(rest(&mut open[0]).await, "");
    }
}

#[tokio::test]
async fn two_thousand_half_open_connections_keep_nobody_out() {
    half_open(2000, 1000).await;
}

#[tokio::test]
#[ignore = "needs 20,000 open files"]
async fn ten_thousand_half_open_connections_keep_nobody_out() {
    half_open(10_000, 8192).await;
    half_open(10_000, 12_000).await;
}

async fn slow_bodies(count: usize) {
    open_many_files();
    let directory = directory();
    let limit = (count * 2).to_string();
    let limits = ["--max-clients", &limit, "--max-clients-per-address", &limit];
    let quick = ["--body-timeout-seconds", "5"];
    let service = service(directory.path(), &[limits.as_slice(), &quick].concat()).await;
    service.answers_others().await;
    let before = service.memory("VmRSS");
    // of a body of 60 MB, and of one in chunks, hardly anything
    let chunked = "POST /v1/databases HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    let announced = format!("{}{{", post(60_000_000, ""));
    let said = |n: usize| {
        if n.is_multiple_of(2) {
            chunked.as_bytes().to_vec()
        } else {
            announced.clone().into_bytes()
        }
    };
    let mut open = connections(&service, count, said).await;
    // calls with a body are among those who are answered
    let made = super::client()
        .post(format!("{}/v1/databases", service.url))
        .json(&serde_json::json!({"name": "mine"}));
    assert_eq!(made.send().await.expect("an answer").status().as_u16(), 201);
    service.answers_others().await;
    for stream in &mut open {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    let grown = service.memory("VmHWM").saturating_sub(before);
    eprintln!("{count} slow bodies: {} MiB", grown / MIB);
    assert!(grown < allowed(count), "{count} slow bodies took {} MiB", grown / MIB);
    service.answers_others().await;
}

#[tokio::test]
async fn a_thousand_slow_bodies_keep_nobody_out() {
    slow_bodies(1000).await;
}

#[tokio::test]
#[ignore = "needs 20,000 open files"]
async fn ten_thousand_slow_bodies_keep_nobody_out() {
    slow_bodies(10_000).await;
}

async fn handshakes(count: usize, clients: usize) {
    open_many_files();
    let directory = directory();
    let certificates = Certificates::new();
    let (chain, key) = certificates.signed("server");
    let limit = clients.to_string();
    let args = [
        "--max-clients",
        &limit,
        "--max-clients-per-address",
        &limit,
        "--header-timeout-seconds",
        "600",
        "--tls-cert",
        chain.to_str().expect("UTF-8"),
        "--tls-key",
        key.to_str().expect("UTF-8"),
    ];
    let service = service(directory.path(), &args).await;
    let authority = std::fs::read(certificates.authority()).expect("readable");
    let authority = reqwest::Certificate::from_pem(&authority).expect("a certificate");
    let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    let builder = builder.tls_certs_only([authority]).timeout(Duration::from_secs(30));
    let client = builder.build().expect("a client");
    service.answers(&client).await;
    let before = service.memory("VmRSS");
    // nothing, and the beginning of a record of 16 KiB
    let said: [&[u8]; 2] = [b"", &[22, 3, 1, 0x40, 0, 1, 0, 0x3f]];
    let mut open = connections(&service, count, |n| said[n % 2].to_vec()).await;
    service.answers(&client).await;
    let grown = service.memory("VmHWM").saturating_sub(before);
    eprintln!("{count} handshakes, at most {clients} at once: {} MiB", grown / MIB);
    assert!(grown < allowed(count), "{count} handshakes took {} MiB", grown / MIB);
    if count > clients {
        assert_eq!(rest(&mut open[0]).await, "");
    }
}

#[tokio::test]
async fn a_thousand_tls_handshakes_that_never_end_keep_nobody_out() {
    handshakes(1000, 600).await;
}

#[tokio::test]
#[ignore = "needs 20,000 open files"]
async fn ten_thousand_tls_handshakes_that_never_end_keep_nobody_out() {
    handshakes(10_000, 8192).await;
}
