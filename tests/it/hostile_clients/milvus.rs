//! The same over Milvus' gRPC and REST v2.

use tokio::io::AsyncWriteExt as _;

use super::h2::{Connection, DATA, END_HEADERS, HEADERS, frame, head};
use super::{MIB, rest, service};
use crate::cli::process::directory;

/// Messages that announce the most that gRPC can say, or come to their last byte, and stop.
async fn unfinished_messages(announced: u32, sent: usize, connections: usize, streams: u32) {
    let directory = directory();
    let service = service(directory.path(), &["--body-timeout-seconds", "2"]).await;
    service.answers_others().await;
    let before = service.memory("VmRSS");
    let mut staying = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(&service, 65_535).await;
        let head = head(true, "/milvus.proto.milvus.MilvusService/CreateCollection");
        let begun = [[0].as_slice(), &announced.to_be_bytes(), &vec![0; sent]].concat();
        for n in 0..streams {
            let stream = 2 * n + 1;
            let mut said = frame(HEADERS, END_HEADERS, stream, &head);
            for piece in begun.chunks(16 * 1024) {
                said.extend(frame(DATA, 0, stream, piece));
            }
            // what does not fit into the window is not taken by anybody
            let _ = connection.stream.write_all(&said).await;
        }
        staying.push(tokio::spawn(connection.stay(|_| Vec::new())));
    }
    service.answers_others().await;
    let made = super::client()
        .post(format!("{}/v1/databases", service.url))
        .json(&serde_json::json!({"name": "mine"}));
    assert_eq!(made.send().await.expect("an answer").status().as_u16(), 201);
    let grown = service.memory("VmHWM").saturating_sub(before);
    eprintln!("{connections} connections of {streams} messages: {} MiB", grown / MIB);
    assert!(grown < 160 * MIB, "{} MiB", grown / MIB);
    staying.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn messages_that_announce_gigabytes_take_no_memory() {
    unfinished_messages(u32::MAX, 0, 20, 200).await;
}

#[tokio::test]
async fn messages_that_stop_in_the_middle_share_what_there_is() {
    unfinished_messages(4 << 20, 60 * 1024, 100, 3).await;
}

#[tokio::test]
async fn bodies_of_rest_v2_have_an_end_and_share_what_there_is() {
    let directory = directory();
    let service = service(directory.path(), &["--body-timeout-seconds", "2"]).await;
    service.answers_others().await;
    let before = service.memory("VmRSS");
    let head = "POST /v2/vectordb/snapshots/list HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    // 1 GB, announced and not
    let said = service
        .say(format!("{head}content-length: 1073741824\r\n\r\n").as_bytes())
        .await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("\"code\":1102"), "{said}");
    let mut stream = service.connect().await;
    stream
        .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 1024 && stream.write_all(&chunk).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 100, "{sent} MiB were taken");
    // 200 that stop before their end, of 4 MiB each
    let unfinished = futures::future::join_all((0..200).map(|_| async {
        let mut stream = service.connect().await;
        let said = [
            format!("{head}content-length: {}\r\n\r\n", 4 << 20).as_bytes(),
            &vec![b' '; 4 << 20],
        ]
        .concat();
        let _ = tokio::time::timeout(super::PATIENCE, stream.write_all(&said[..said.len() - 100])).await;
        rest(&mut stream).await
    }));
    let (answers, ()) = tokio::join!(unfinished, service.answers_others());
    for said in answers {
        assert!(
            said.is_empty() || said.contains("\"code\":10001") || said.contains("\"code\":2,"),
            "{said}"
        );
    }
    let grown = service.memory("VmHWM").saturating_sub(before);
    eprintln!("200 unfinished bodies: {} MiB", grown / MIB);
    // the share of one client, twice while it grows
    assert!(grown < 400 * MIB, "{} MiB", grown / MIB);
    service.answers_others().await;
}
