//! A layer in front of the S3 server that breaks chosen requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use s3s::service::S3Service;
use s3s::{Body, HttpError};

/// A request as a rule sees it.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    /// Bucket and key.
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

impl Call {
    fn has_source(&self) -> bool {
        self.headers.contains_key("x-amz-copy-source")
    }

    fn names_upload(&self) -> bool {
        self.query.contains("uploadId=")
    }

    pub fn is_copy(&self) -> bool {
        self.method == Method::PUT && self.has_source() && !self.names_upload()
    }

    pub fn is_part_copy(&self) -> bool {
        self.method == Method::PUT && self.has_source() && self.names_upload()
    }

    pub fn is_initiate(&self) -> bool {
        self.method == Method::POST && self.query.starts_with("uploads")
    }

    pub fn is_complete(&self) -> bool {
        self.method == Method::POST && self.names_upload()
    }

    pub fn is_abort(&self) -> bool {
        self.method == Method::DELETE && self.names_upload()
    }
}

/// What becomes of a request.
pub enum Fault {
    /// It is refused with this status and S3 code.
    Refuse(u16, &'static str),
    /// It is done, and answered later.
    Slow(Duration),
    /// It is done, answered with success, and then this happens to its object.
    Then(Box<dyn FnOnce() + Send>),
}

type Rule = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// The rule in force, and every call that came. Cheap to clone.
#[derive(Clone, Default)]
pub struct Faults {
    rule: Arc<Mutex<Option<Rule>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Faults {
    /// From now on this rule decides.
    pub fn set(&self, rule: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        *self.rule.lock().expect("no panic") = Some(Box::new(rule));
    }

    /// From now on nothing is broken.
    pub fn clear(&self) {
        *self.rule.lock().expect("no panic") = None;
    }

    /// The calls so far that fit.
    pub fn calls(&self, fits: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.calls
            .lock()
            .expect("no panic")
            .iter()
            .filter(|c| fits(c))
            .cloned()
            .collect()
    }

    /// Waits for a call that fits.
    pub async fn seen(&self, fits: impl Fn(&Call) -> bool) {
        let patience = std::time::Instant::now() + Duration::from_secs(60);
        while self.calls(&fits).is_empty() {
            assert!(std::time::Instant::now() < patience, "no such call came");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// One request, through the rule and the server.
    pub async fn serve(&self, request: Request<Incoming>, server: S3Service) -> Result<Response<Body>, HttpError> {
        let call = Call {
            method: request.method().clone(),
            path: request.uri().path().to_string(),
            query: request.uri().query().unwrap_or_default().to_string(),
            headers: request.headers().clone(),
        };
        let fault = self.rule.lock().expect("no panic").as_mut().and_then(|rule| rule(&call));
        self.calls.lock().expect("no panic").push(call);
        if let Some(Fault::Refuse(status, code)) = fault {
            let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a fault</Message></Error>");
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            return Ok(response);
        }
        let answer = server.call(request.map(Body::from)).await;
        match fault {
            Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
            Some(Fault::Then(act)) => act(),
            _ => {}
        }
        answer
    }
}
