//! The places of connections: which are idle, how many a client has, and which answers wait for their client.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::limits::Client;

/// Connections of a process. Those without a request stand in the order in which they became so.
#[derive(Debug, Default)]
pub struct Places {
    next: u64,
    idle: BTreeMap<u64, (Client, CancellationToken)>,
    clients: HashMap<Client, OfClient>,
}

/// Connections of one client.
#[derive(Debug, Default)]
struct OfClient {
    open: usize,
    idle: BTreeSet<u64>,
}

impl Places {
    /// Makes room for a connection of a client, by closing the one that has been idle longest where there is
    /// none; false when every connection that could be closed is busy.
    pub fn make_room(&mut self, client: &Client, full: bool, share: usize) -> bool {
        // whoever is not known stands for many
        let theirs = self.clients.get(client).filter(|_| *client != Client::Anybody);
        match theirs {
            Some(theirs) if theirs.open >= share => match theirs.idle.first().copied() {
                Some(place) => self.close(place),
                None => false,
            },
            _ if full => self.close_longest(),
            _ => true,
        }
    }

    /// Closes the connection that has been idle longest; false when every one is busy.
    pub fn close_longest(&mut self) -> bool {
        match self.idle.keys().next().copied() {
            Some(place) => self.close(place),
            None => false,
        }
    }

    fn close(&mut self, place: u64) -> bool {
        let Some((client, close)) = self.idle.remove(&place) else {
            return false;
        };
        if let Some(theirs) = self.clients.get_mut(&client) {
            theirs.idle.remove(&place);
        }
        close.cancel();
        true
    }

    fn leave(&mut self, place: u64) {
        if let Some((client, _)) = self.idle.remove(&place)
            && let Some(theirs) = self.clients.get_mut(&client)
        {
            theirs.idle.remove(&place);
        }
    }

    fn wait(&mut self, client: &Client, close: &CancellationToken) -> u64 {
        let place = self.next;
        self.next += 1;
        self.idle.insert(place, (client.clone(), close.clone()));
        self.clients.entry(client.clone()).or_default().idle.insert(place);
        place
    }
}

pub fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of a connection. Its lock is always taken before that of the places.
#[derive(Debug)]
pub struct Slot {
    places: Arc<Mutex<Places>>,
    client: Client,
    state: Mutex<SlotState>,
    pub close: CancellationToken,
    /// The first request has come.
    pub seen: CancellationToken,
}

#[derive(Debug, Default)]
struct SlotState {
    requests: usize,
    /// Where it waits while it is idle.
    place: Option<u64>,
    next: u64,
    /// Answers of which the client could take more, since when.
    sending: BTreeMap<u64, Instant>,
}

impl Slot {
    pub fn new(places: Arc<Mutex<Places>>, client: Client) -> Self {
        lock(&places).clients.entry(client.clone()).or_default().open += 1;
        let slot = Self {
            places,
            client,
            state: Mutex::default(),
            close: CancellationToken::new(),
            seen: CancellationToken::new(),
        };
        slot.change(|_| {});
        slot
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the number of requests; the connection is idle when there is none.
    fn change(&self, change: impl FnOnce(&mut usize)) {
        let mut state = self.state();
        change(&mut state.requests);
        let mut places = lock(&self.places);
        if let Some(place) = state.place.take() {
            places.leave(place);
        }
        if state.requests == 0 {
            state.place = Some(places.wait(&self.client, &self.close));
        }
    }

    /// Notes that an answer waits for the client from now on; gives what it is known by.
    pub fn offers(&self, known: Option<u64>) -> u64 {
        let mut state = self.state();
        let id = known.unwrap_or_else(|| {
            state.next += 1;
            state.next
        });
        state.sending.insert(id, Instant::now());
        id
    }

    /// Notes that it does not.
    pub fn takes(&self, id: u64) {
        self.state().sending.remove(&id);
    }

    /// Ends when an answer has waited for the client for so long.
    pub async fn stuck(&self, patience: Duration) {
        loop {
            let oldest = self.state().sending.values().min().copied();
            let left = oldest.map_or(patience, |since| patience.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.change(|requests| *requests = 1);
        let mut places = lock(&self.places);
        if let Some(theirs) = places.clients.get_mut(&self.client) {
            theirs.open -= 1;
            if theirs.open == 0 {
                places.clients.remove(&self.client);
            }
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Busy(pub Arc<Slot>);

impl Busy {
    pub fn new(slot: Arc<Slot>) -> Self {
        slot.seen.cancel();
        slot.change(|requests| *requests += 1);
        Self(slot)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|requests| *requests -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u8) -> Client {
        Client::at(std::net::IpAddr::from([192, 0, 2, n]))
    }

    #[test]
    fn one_more_closes_the_one_that_has_been_idle_longest_of_the_client_that_has_its_share() {
        let places = Arc::new(Mutex::new(Places::default()));
        let slots: Vec<Arc<Slot>> = [1, 2, 2, 2]
            .map(|n| Arc::new(Slot::new(places.clone(), client(n))))
            .into_iter()
            .collect();
        let closed = || slots.iter().map(|s| s.close.is_cancelled()).collect::<Vec<_>>();
        let busy = Busy::new(slots[1].clone());
        assert!(lock(&places).make_room(&client(2), false, 4));
        assert_eq!(closed(), [false; 4], "there is room");
        assert!(lock(&places).make_room(&client(2), true, 3));
        assert_eq!(closed(), [false, false, true, false], "its own, and never a busy one");
        assert!(lock(&places).make_room(&client(3), true, 3));
        assert_eq!(
            closed(),
            [true, false, true, false],
            "whoever has less than a share gets anybody's"
        );
        assert!(lock(&places).make_room(&client(2), true, 3));
        assert!(
            !lock(&places).make_room(&client(2), false, 3),
            "all of its others are busy or closed"
        );
        drop(busy);
        assert!(lock(&places).make_room(&client(2), false, 3));
        drop(slots);
        let places = lock(&places);
        assert!(places.idle.is_empty() && places.clients.is_empty(), "{places:?}");
    }

    #[test]
    fn connections_of_proxies_stand_for_many_clients() {
        let places = Arc::new(Mutex::new(Places::default()));
        let _open: Vec<Slot> = (0..10).map(|_| Slot::new(places.clone(), Client::Anybody)).collect();
        assert!(lock(&places).make_room(&Client::Anybody, false, 3));
    }
}
