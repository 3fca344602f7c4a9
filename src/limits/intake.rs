//! How request bodies are taken in: their pace, and the memory that all of them may take together.
//!
//! Memory is counted as bytes arrive, so that a body that never comes holds none. The first bytes of every
//! body have a room of their own, which large bodies can't fill. Beyond them a client promises how large its
//! bodies may become, within its share: of bodies that together are larger some wait before they hold much,
//! instead of each waiting for what the others hold.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use futures::{StreamExt as _, stream};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Client, Held, Room};

/// Bytes of a body that count as its first ones.
pub const SMALL: usize = 64 * 1024;
/// Bytes that the first ones of all bodies may take together, and those of one client's.
const SMALL_ROOM: usize = 128 * 1024 * 1024;
const SMALL_SHARE: usize = 32 * 1024 * 1024;
/// Bodies of the largest size that may be in memory at the same time, and those of one client.
pub const LARGE_BODIES: usize = 4;
pub const LARGE_SHARE: usize = 2;
/// Bytes a second that a body must come with, over the time in which it is waited for.
pub const MIN_RATE: usize = 1024;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    TooSlow,
    NoRoom,
    TooLarge,
    /// Its client went away, or sent what is no body.
    Broken,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooSlow => "the request body came too slowly",
            Self::NoRoom => "there is no room for the request body",
            Self::TooLarge => "the request body is too large",
            Self::Broken => "the request body could not be read to its end",
        })
    }
}

impl StdError for Unread {}

/// What of this module an error comes from, if it does.
pub fn why(error: &(dyn StdError + 'static)) -> Option<Unread> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(unread) = error.downcast_ref::<Unread>() {
            return Some(*unread);
        }
        cause = error.source();
    }
    None
}

/// The rooms of a process.
#[derive(Debug, Clone)]
pub struct Intake {
    body_bytes: usize,
    pause: Duration,
    small: Arc<Room>,
    promises: Arc<Room>,
    large: Arc<Room>,
}

/// What a body has taken; given back when this and the body are dropped.
#[derive(Debug, Clone)]
pub struct Account {
    _taken: Arc<Mutex<Taken>>,
}

impl Intake {
    pub fn new(body_bytes: usize, pause: Duration) -> Self {
        let large = body_bytes.saturating_mul(LARGE_BODIES);
        Self {
            body_bytes,
            pause,
            small: Room::new(SMALL_ROOM, SMALL_SHARE),
            promises: Room::new(usize::MAX, body_bytes.saturating_mul(LARGE_SHARE)),
            large: Room::new(large, large),
        }
    }

    /// `most`: what its reader takes of it.
    pub fn take_in(&self, client: Client, body: Body, most: usize) -> (Body, Account) {
        let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
        let taken = Arc::new(Mutex::new(Taken {
            small: self.small.enter(client.clone()),
            promise: self.promises.enter(client.clone()),
            large: self.large.enter(client),
            may_become: announced.unwrap_or(most).min(most).min(self.body_bytes),
        }));
        let account = Account { _taken: taken.clone() };
        let incoming = Incoming {
            pieces: body.into_data_stream(),
            taken,
            pace: Pace::new(self.pause),
        };
        let pieces = stream::unfold(Some(incoming), |incoming| async move {
            let mut incoming = incoming?;
            match incoming.next().await? {
                Ok(piece) => Some((Ok(piece), Some(incoming))),
                Err(error) => Some((Err(error), None)),
            }
        });
        // whoever reads it may ask again after its end
        (Body::from_stream(pieces.fuse()), account)
    }

    pub async fn read(&self, client: Client, body: Body, most: usize) -> Result<(Bytes, Account), Unread> {
        if body.size_hint().lower() > self.body_bytes as u64 {
            return Err(Unread::TooLarge);
        }
        let (body, account) = self.take_in(client, body, most);
        let mut pieces = body.into_data_stream();
        let (mut bytes, mut size) = (Vec::new(), 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| why(&error).unwrap_or(Unread::Broken))?;
            size += piece.len();
            if size > self.body_bytes {
                return Err(Unread::TooLarge);
            }
            // the rest is read all the same: a client that is cut off while it sends does not hear why
            match size > most {
                true => bytes = Vec::new(),
                false => bytes.extend_from_slice(&piece),
            }
        }
        match size > most {
            true => Err(Unread::TooLarge),
            false => Ok((bytes.into(), account)),
        }
    }
}

/// What is counted of one body.
#[derive(Debug)]
struct Taken {
    small: Held,
    promise: Held,
    large: Held,
    may_become: usize,
}

impl Taken {
    async fn more(&mut self, bytes: usize) {
        // what is beyond is not kept
        let bytes = bytes.min(self.may_become.saturating_sub(self.small.bytes() + self.large.bytes()));
        let first = bytes.min(SMALL - self.small.bytes());
        self.small.more(first).await;
        if bytes > first {
            if self.promise.bytes() == 0 {
                self.promise.more(self.may_become).await;
            }
            self.large.more(bytes - first).await;
        }
    }
}

/// A body on its way.
struct Incoming {
    pieces: BodyDataStream,
    taken: Arc<Mutex<Taken>>,
    pace: Pace,
}

impl Incoming {
    async fn next(&mut self) -> Option<Result<Bytes, axum::BoxError>> {
        let began = Instant::now();
        let piece = match tokio::time::timeout(self.pace.patience(), self.pieces.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => return Some(Err(error.into())),
            Ok(None) => return None,
            Err(_) => return Some(Err(Unread::TooSlow.into())),
        };
        if !self.pace.came(piece.len(), began.elapsed()) {
            return Some(Err(Unread::TooSlow.into()));
        }
        let mut taken = self.taken.lock().await;
        match tokio::time::timeout(self.pace.pause, taken.more(piece.len())).await {
            Ok(()) => Some(Ok(piece)),
            Err(_) => Some(Err(Unread::NoRoom.into())),
        }
    }
}

/// How fast a body comes: in every stretch of waiting as long as the pause there must be so much.
#[derive(Debug)]
struct Pace {
    pause: Duration,
    waited: Duration,
    bytes: usize,
}

impl Pace {
    fn new(pause: Duration) -> Self {
        let (waited, bytes) = (Duration::ZERO, 0);
        Self { pause, waited, bytes }
    }

    fn enough(&self) -> bool {
        self.bytes as f64 >= MIN_RATE as f64 * self.pause.as_secs_f64()
    }

    /// How long to wait for the next piece.
    fn patience(&self) -> Duration {
        match self.enough() {
            true => self.pause,
            false => self.pause.saturating_sub(self.waited),
        }
    }

    /// Counts a piece; false when too little has come.
    fn came(&mut self, bytes: usize, waited: Duration) -> bool {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.pause {
            return true;
        }
        let enough = self.enough();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const MAX: usize = 1 << 20;
    /// How long a body that finds no room waits, here.
    const PAUSE: Duration = Duration::from_millis(50);

    fn client(n: u8) -> Client {
        Client::at(IpAddr::from([192, 0, 2, n]))
    }

    /// A body whose length is not announced.
    fn pieces(number: usize, bytes: usize) -> Body {
        let piece = move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes]));
        Body::from_stream(stream::iter((0..number).map(piece)))
    }

    #[test]
    fn a_body_must_come_with_so_much_in_every_stretch_of_waiting() {
        let second = Duration::from_secs(1);
        let mut dripping = Pace::new(30 * second);
        assert!(dripping.came(1, 29 * second));
        assert_eq!(dripping.patience(), second, "no byte puts it off");
        assert!(!dripping.came(1, second));
        let mut slow = Pace::new(30 * second);
        for _ in 0..100 {
            assert!(slow.came(15 * MIN_RATE, 15 * second));
        }
        let mut quick = Pace::new(30 * second);
        assert!(quick.came(MAX, second));
        assert_eq!(quick.patience(), 30 * second, "then it may pause");
        assert!(quick.came(1, 30 * second));
        assert!(!quick.came(1, 30 * second), "but not twice");
    }

    #[tokio::test]
    async fn a_body_of_which_nothing_comes_is_given_up() {
        let intake = Intake::new(MAX, PAUSE);
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(intake.read(client(1), silent, MAX).await.err(), Some(Unread::TooSlow));
    }

    #[tokio::test]
    async fn what_has_not_come_takes_no_room_and_nobody_takes_that_of_others() {
        let intake = Intake::new(MAX, PAUSE);
        // any number of bodies of which little has come, and as many large ones as a client may have
        let mut little = Vec::new();
        for _ in 0..400 {
            let (body, account) = intake.take_in(client(1), pieces(100, 1024), MAX);
            let mut pieces = body.into_data_stream();
            pieces.next().await.expect("a piece").expect("read");
            little.push((pieces, account));
        }
        let large = || pieces(16, MAX / 16);
        let first = intake.read(client(1), large(), MAX).await.expect("read");
        let _second = intake.read(client(1), large(), MAX).await.expect("read");
        assert_eq!(intake.read(client(1), large(), MAX).await.err(), Some(Unread::NoRoom));
        let _others = intake.read(client(2), large(), MAX).await.expect("others have their share");
        drop(first);
        let _again = intake.read(client(1), large(), MAX).await.expect("there is room again");
        let _fourth = intake.read(client(3), large(), MAX).await.expect("the fourth");
        let _fifth = intake
            .read(client(4), pieces(1, MAX / 4), MAX)
            .await
            .expect("less than is left");
        assert_eq!(intake.read(client(5), large(), MAX).await.err(), Some(Unread::NoRoom));
        let small = Body::from(vec![b' '; SMALL]);
        let (bytes, _) = intake.read(client(5), small, MAX).await.expect("small ones pass");
        assert_eq!(bytes.len(), SMALL);
    }

    #[tokio::test]
    async fn a_body_may_have_so_many_bytes_announced_or_not() {
        let intake = Intake::new(MAX, PAUSE);
        let announced = Body::from(vec![b' '; MAX + 1]);
        for larger in [announced, pieces(3, MAX / 2)] {
            assert_eq!(intake.read(client(1), larger, MAX).await.err(), Some(Unread::TooLarge));
        }
        let larger = intake.read(client(1), pieces(2, MAX / 2), MAX / 4).await;
        assert_eq!(larger.err(), Some(Unread::TooLarge), "its reader takes less");
        assert_eq!(
            intake.read(client(1), pieces(2, MAX / 2), MAX).await.expect("read").0.len(),
            MAX
        );
    }
}
