//! A real S3 protocol server in this process, on a directory.

use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use stillframe::objects::{Credentials, StorageOptions, StorageUrl};
use tokio::net::TcpListener;

use super::etags::{Spoil, WithEtags};
use super::faults::Faults;
use super::uploads::ListsUploads;

pub const KEY: &str = "test-key";
pub const SECRET: &str = "test-secret";

/// Starts a server with one bucket on the directory; gives the storage setting and options.
pub async fn start(directory: &Path) -> (StorageUrl, StorageOptions) {
    start_behind(directory, Faults::default()).await
}

/// The same behind faults.
pub async fn start_behind(directory: &Path, faults: Faults) -> (StorageUrl, StorageOptions) {
    std::fs::create_dir_all(directory.join("bucket")).expect("a bucket");
    serve(s3s_fs::FileSystem::new(directory).expect("a directory"), faults).await
}

/// The same with ETags in its listings; copies can be spoiled.
pub async fn start_with_etags(directory: &Path, spoil: Spoil) -> (StorageUrl, StorageOptions) {
    std::fs::create_dir_all(directory.join("bucket")).expect("a bucket");
    serve(WithEtags::new(directory, spoil), Faults::default()).await
}

/// The same that lists multipart uploads, two to a page, behind faults.
pub async fn start_listing_uploads(directory: &Path, faults: Faults) -> (StorageUrl, StorageOptions) {
    std::fs::create_dir_all(directory.join("bucket")).expect("a bucket");
    serve(ListsUploads::new(directory), faults).await
}

/// Starts a server with one bucket on the directory that knows this key; gives its endpoint.
pub async fn start_with_key(directory: &Path, key: &str, secret: &str) -> String {
    std::fs::create_dir_all(directory.join("bucket")).expect("a bucket");
    let files = s3s_fs::FileSystem::new(directory).expect("a directory");
    listen(files, Faults::default(), SimpleAuth::from_single(key, secret)).await
}

async fn serve(s3: impl s3s::S3, faults: Faults) -> (StorageUrl, StorageOptions) {
    let endpoint = listen(s3, faults, SimpleAuth::from_single(KEY, SECRET)).await;
    let url = StorageUrl::parse(&format!("s3://bucket/some/prefix?endpoint={endpoint}&region=us-east-1")).expect("a URL");
    let credentials = Credentials {
        access_key_id: KEY.into(),
        secret_access_key: SECRET.into(),
    };
    (
        url,
        StorageOptions {
            credentials: Some(credentials),
            ..StorageOptions::default()
        },
    )
}

/// Serves; gives the endpoint.
async fn listen(s3: impl s3s::S3, faults: Faults, auth: SimpleAuth) -> String {
    let service = {
        let mut builder = S3ServiceBuilder::new(s3);
        builder.set_auth(auth);
        builder.build()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (service, faults) = (service.clone(), faults.clone());
            let faulty = tower::service_fn(move |request| {
                let (service, faults) = (service.clone(), faults.clone());
                async move { faults.serve(request, service).await }
            });
            tokio::spawn(async move {
                Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), TowerToHyperService::new(faulty))
                    .await
            });
        }
    });
    endpoint
}

/// What is there of multipart uploads that were neither completed nor aborted.
pub fn open_uploads(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).expect("a directory").flatten();
    let mut names: Vec<String> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    // parts, owners, and the attributes of their objects
    names.retain(|n| n.contains(".upload"));
    names
}
