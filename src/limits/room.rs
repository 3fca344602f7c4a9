//! Memory that clients share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Client;

/// Room for bytes: so much for all, and so much for each client. Whoever is [`Client::Anybody`] has no share
/// of their own, only what is left.
#[derive(Debug)]
pub struct Room {
    whole: usize,
    share: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    by_client: HashMap<Client, usize>,
}

impl Room {
    pub fn new(whole: usize, share: usize) -> Arc<Self> {
        Arc::new(Self {
            whole,
            share,
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// A place for a client, with nothing in it.
    pub fn enter(self: &Arc<Self>, client: Client) -> Held {
        Held {
            room: self.clone(),
            client,
            bytes: 0,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is held of a room; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    room: Arc<Room>,
    client: Client,
    bytes: usize,
}

impl Held {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more; false, and nothing is taken, when there is no room.
    pub fn try_more(&mut self, bytes: usize) -> bool {
        let mut state = self.room.state();
        if state.held.saturating_add(bytes) > self.room.whole {
            return false;
        }
        if self.client != Client::Anybody && bytes > 0 {
            let mine = state.by_client.get(&self.client).copied().unwrap_or(0);
            if mine.saturating_add(bytes) > self.room.share {
                return false;
            }
            state.by_client.insert(self.client.clone(), mine + bytes);
        }
        state.held += bytes;
        self.bytes += bytes;
        true
    }

    /// Takes more, and waits for room.
    pub async fn more(&mut self, bytes: usize) {
        let room = self.room.clone();
        loop {
            let mut freed = std::pin::pin!(room.freed.notified());
            // whatever is freed from here on is heard of
            freed.as_mut().enable();
            if self.try_more(bytes) {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.room.state();
        state.held -= self.bytes;
        if let Some(mine) = state.by_client.get_mut(&self.client) {
            *mine -= self.bytes;
            if *mine == 0 {
                state.by_client.remove(&self.client);
            }
        }
        drop(state);
        self.room.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u8) -> Client {
        Client::at(std::net::IpAddr::from([192, 0, 2, n]))
    }

    #[tokio::test]
    async fn a_client_has_a_share_and_all_have_the_whole() {
        let room = Room::new(100, 60);
        let (mut a, mut again, mut b) = (room.enter(client(1)), room.enter(client(1)), room.enter(client(2)));
        assert!(a.try_more(50));
        assert!(!again.try_more(11), "that is more than its share");
        assert!(again.try_more(10));
        assert!(!b.try_more(41), "that is more than there is");
        assert!(b.try_more(40));
        {
            let mut more = std::pin::pin!(b.more(20));
            assert!(futures::poll!(more.as_mut()).is_pending());
            drop(a);
            more.await;
        }
        assert_eq!(b.bytes(), 60);
        drop((again, b));
        let state = room.state();
        assert!(state.held == 0 && state.by_client.is_empty(), "{state:?}");
    }
}
