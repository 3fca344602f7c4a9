//! HTTP/2, frame by frame: what no honest client says.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::service::Service;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&size[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal of HPACK that is not indexed, with the name of an entry of the static table.
fn literal(name: u8, value: &str) -> Vec<u8> {
    let size = u8::try_from(value.len()).expect("short");
    assert!(size < 127);
    [[name, size].as_slice(), value.as_bytes()].concat()
}

/// `:method`, `:scheme`, `:path`, `:authority`.
pub fn head(post: bool, path: &str) -> Vec<u8> {
    let method = if post { 0x83 } else { 0x82 };
    [vec![method, 0x86], literal(4, path), literal(1, "x")].concat()
}

pub struct Connection {
    pub stream: TcpStream,
}

impl Connection {
    /// Streams of it may be sent so many bytes before it says more.
    pub async fn open(service: &Service, window: u32) -> Self {
        let mut stream = service.connect().await;
        let setting = [INITIAL_WINDOW_SIZE.to_be_bytes().as_slice(), &window.to_be_bytes()].concat();
        let begin = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
            &frame(SETTINGS, 0, 0, &setting),
        ]
        .concat();
        stream.write_all(&begin).await.expect("sent");
        Self { stream }
    }

    /// Asks on this many streams.
    pub async fn get(&mut self, path: &str, streams: u32) {
        let head = head(false, path);
        let asked: Vec<u8> = (0..streams)
            .flat_map(|n| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &head))
            .collect();
        self.stream.write_all(&asked).await.expect("sent");
    }

    /// Answers pings and settings, and whatever `also` has to say to a frame, until the service closes the
    /// connection; gives the number of bytes of data that came.
    pub async fn stay(mut self, mut also: impl FnMut(u8) -> Vec<u8>) -> usize {
        let mut data = 0;
        while let Ok((kind, flags, payload)) = self.next().await {
            data += if kind == DATA { payload.len() } else { 0 };
            let mut said = also(kind);
            if matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
                let payload = if kind == PING { payload.as_slice() } else { &[] };
                said.extend(frame(kind, ACK, 0, payload));
            }
            if self.stream.write_all(&said).await.is_err() {
                break;
            }
        }
        data
    }

    async fn next(&mut self) -> std::io::Result<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; size as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok((head[3], head[4], payload))
    }
}
