//! A connection that fails when its other end does not take what is written.

use std::future::Future as _;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes a second that a client must take, over the time in which it is waited for.
pub const MIN_RATE: u64 = 512;

/// A stream of bytes whose writes fail when, over so much time of waiting, too little was taken.
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pace: Pace,
}

#[derive(Debug)]
struct Pace {
    patience: Duration,
    /// Time that was waited, and bytes that were taken since that began to be counted.
    waited: Duration,
    taken: u64,
    /// Since when it waits, and until when.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Paced<S> {
    pub fn new(inner: S, patience: Duration) -> Self {
        let pace = Pace {
            patience,
            waited: Duration::ZERO,
            taken: 0,
            waiting: None,
        };
        Self { inner, pace }
    }

    fn written(&mut self, written: Poll<Result<usize>>, context: &mut Context<'_>) -> Poll<Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.pace.moved(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Pending => self.pace.wait(context).map(Err),
            failed => failed,
        }
    }
}

impl Pace {
    fn moved(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
    }

    /// Ready when the other end is given up.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        loop {
            let left = self.patience.saturating_sub(self.waited);
            let begin = || (Instant::now(), Box::pin(tokio::time::sleep(left)));
            let (_, until) = self.waiting.get_or_insert_with(begin);
            if until.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if (self.taken as f64) < MIN_RATE as f64 * self.patience.as_secs_f64() {
                return Poll::Ready(Error::new(ErrorKind::TimedOut, "the client does not take its answer"));
            }
            (self.waited, self.taken, self.waiting) = (Duration::ZERO, 0, None);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn an_end_that_takes_nothing_or_next_to_nothing_is_given_up() {
        for takes in [0, 1] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let mut paced = Paced::new(ours, Duration::from_millis(100));
            let mut byte = vec![0; takes];
            let writing = paced.write_all(&[0; 4096]);
            let reading = async {
                theirs.read_exact(&mut byte).await.expect("read");
                std::future::pending::<()>().await;
            };
            tokio::select! {
                written = writing => assert_eq!(written.expect_err("too slow").kind(), ErrorKind::TimedOut),
                () = reading => {}
            }
        }
    }

    #[tokio::test]
    async fn an_end_that_takes_its_bytes_gets_all_of_them() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut paced = Paced::new(ours, Duration::from_secs(60));
        let bytes: Vec<u8> = (0..100_000).map(|n| n as u8).collect();
        let mut got = Vec::new();
        let (written, read) = tokio::join!(
            async {
                let written = paced.write_all(&bytes).await;
                drop(paced);
                written
            },
            theirs.read_to_end(&mut got)
        );
        written.expect("written");
        read.expect("read");
        assert!(got == bytes);
    }
}
