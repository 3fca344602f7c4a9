//! A small S3 server on a directory, for benchmarks and for trying things out without Docker:
//! `cargo run --release --example s3_server -- 127.0.0.1:9000 DIRECTORY [BUCKET]`. The key is
//! `test-key`, its secret `test-secret`.

use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("expected an address and a directory");
    };
    let bucket = arguments.next().unwrap_or_else(|| "bucket".into());
    std::fs::create_dir_all(Path::new(&directory).join(&bucket))?;
    let files = s3s_fs::FileSystem::new(&directory).map_err(|e| anyhow::anyhow!("{directory}: {e:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single("test-key", "test-secret"));
    let service = builder.build();
    let listener = TcpListener::bind(&address).await?;
    println!("s3://{bucket}?endpoint=http://{}&region=us-east-1", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            // a client that goes away is no error of ours
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
