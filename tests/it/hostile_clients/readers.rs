//! Clients that ask and do not take their answers.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::h2::{CONTINUATION, Connection, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, WINDOW_UPDATE, frame, head};
use super::{MIB, rest, service};
use crate::cli::process::directory;
use crate::cli::service::Service;

const DOCUMENT: &str = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";

/// A connection that takes little ahead.
async fn narrow(service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let address = service.address().parse().expect("an address");
    socket.connect(address).await.expect("connects")
}

/// Asks often enough that no buffer on the way holds the answers, and reads none of them.
async fn standing_still(service: &Service) -> TcpStream {
    let mut stream = narrow(service).await;
    stream.write_all(DOCUMENT.repeat(30).as_bytes()).await.expect("sent");
    stream.readable().await.expect("the first answer has begun");
    stream
}

#[tokio::test]
async fn readers_that_stand_still_are_closed_and_keep_nobody_out() {
    let directory = directory();
    let limits = ["--max-clients", "40", "--max-clients-per-address", "40"];
    let service = service(
        directory.path(),
        &[limits.as_slice(), &["--send-timeout-seconds", "2"]].concat(),
    )
    .await;
    service.answers_others().await;
    let before = service.memory("VmRSS");
    let mut open = Vec::new();
    for _ in 0..40 {
        open.push(standing_still(&service).await);
    }
    // every place is taken by somebody who has work for the service and takes none of it
    service.answers_others_again().await;
    let mut cut_off = 0;
    for stream in &mut open {
        // the last ones may be read before their time is over
        cut_off += usize::from(rest(stream).await.matches("HTTP/1.1 200 OK").count() < 30);
    }
    assert!(cut_off > 0, "who was let in had a place of their own");
    let grown = service.memory("VmHWM").saturating_sub(before);
    assert!(grown < 60 * MIB, "{} MiB", grown / MIB);
}

#[tokio::test]
async fn one_address_does_not_take_every_place() {
    let directory = directory();
    let limits = ["--max-clients", "40", "--max-clients-per-address", "10"];
    let service = service(
        directory.path(),
        &[limits.as_slice(), &["--send-timeout-seconds", "600"]].concat(),
    )
    .await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(standing_still(&service).await);
    }
    // an eleventh is refused as all are busy; another address of this machine is let in
    let refused = async {
        loop {
            let mut stream = service.connect().await;
            let _ = stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await;
            if rest(&mut stream).await.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(super::PATIENCE, refused).await.expect("it is refused");
    let builder = reqwest::Client::builder()
        .no_proxy()
        .local_address(std::net::IpAddr::from([127, 0, 0, 2]));
    service.answers(&builder.build().expect("a client")).await;
}

#[tokio::test]
async fn a_slow_reader_gets_its_answer() {
    let directory = directory();
    let service = service(directory.path(), &["--send-timeout-seconds", "1"]).await;
    let mut stream = narrow(&service).await;
    let asked = DOCUMENT.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.expect("sent");
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 32 * 1024]);
    let began = Instant::now();
    loop {
        let size = stream.read(&mut piece).await.expect("read");
        if size == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..size]);
        if began.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    assert!(
        serde_json::from_str::<serde_json::Value>(body).is_ok(),
        "{} bytes",
        body.len()
    );
}

/// Streams of HTTP/2 whose windows stay shut, or open by a byte now and then.
async fn shut_windows(connections: usize, streams: u32, drips: bool) {
    let directory = directory();
    let service = service(
        directory.path(),
        &["--send-timeout-seconds", "2", "--header-timeout-seconds", "1"],
    )
    .await;
    service.answers_others().await;
    let before = service.memory("VmRSS");
    let mut staying = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(&service, 0).await;
        connection.get("/openapi.json", streams).await;
        // the service asks every second whether it is still there
        let more = move |kind| match drips && kind == PING {
            true => (0..streams)
                .flat_map(|n| frame(WINDOW_UPDATE, 0, 2 * n + 1, &1u32.to_be_bytes()))
                .collect(),
            false => Vec::new(),
        };
        staying.push(tokio::spawn(connection.stay(more)));
    }
    service.answers_others().await;
    for stayed in staying {
        let data = tokio::time::timeout(super::PATIENCE, stayed).await.expect("it is closed");
        assert!(data.expect("no panic") < 64 * 1024);
    }
    let grown = service.memory("VmHWM").saturating_sub(before);
    assert!(grown < 120 * MIB, "{} MiB", grown / MIB);
    service.answers_others().await;
}

#[tokio::test]
async fn windows_that_stay_shut_close_their_connection() {
    shut_windows(5, 10, false).await;
}

#[tokio::test]
async fn windows_that_open_by_bytes_close_their_connection() {
    shut_windows(5, 10, true).await;
}

#[tokio::test]
async fn ten_thousand_streams_that_nobody_reads_cost_next_to_nothing() {
    shut_windows(50, 200, false).await;
}

#[tokio::test]
async fn floods_of_frames_are_cut_off() {
    let directory = directory();
    let service = service(directory.path(), &[]).await;
    service.answers_others().await;
    let before = service.memory("VmRSS");
    // heads that never end, in any number of frames
    let endless = async {
        let mut connection = Connection::open(&service, 65_535).await;
        let begin = frame(HEADERS, END_STREAM, 1, &head(false, "/healthz"));
        let _ = connection.stream.write_all(&begin).await;
        let header = [b"\x00\x01a\x7f\x81\x1f".as_slice(), &[b'a'; 4096]].concat();
        let more = frame(CONTINUATION, 0, 1, &header);
        let mut sent = 0;
        while connection.stream.write_all(&more).await.is_ok() {
            sent += more.len();
            assert!(sent < 64 << 20, "a head without end was taken");
        }
    };
    // requests that are taken back at once
    let reset = async {
        let mut connection = Connection::open(&service, 65_535).await;
        let head = head(false, "/v1/collections");
        for n in 0..50_000 {
            let begun = frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &head);
            let ended = frame(RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes());
            if connection.stream.write_all(&[begun, ended].concat()).await.is_err() {
                break;
            }
        }
    };
    let both = async {
        tokio::join!(endless, reset);
    };
    tokio::time::timeout(super::PATIENCE, both).await.expect("they are cut off");
    service.answers_others().await;
    let grown = service.memory("VmHWM").saturating_sub(before);
    assert!(grown < 80 * MIB, "{} MiB", grown / MIB);
}
