//! An S3 server whose listings carry ETags, as real ones do and s3s-fs does not, and whose copies
//! can be spoiled.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use md5::{Digest as _, Md5};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

/// What the server does wrong, by a part of the key.
#[derive(Debug, Default)]
pub struct Faults {
    /// Copies to such keys get other bytes of the same size.
    pub spoil: Option<String>,
    /// Such keys have an ETag that has nothing to do with their bytes, as of an object
    /// that is encrypted under a key.
    pub opaque: Option<String>,
    /// Listings come in no order.
    pub backwards: bool,
}

const OPAQUE: &str = "0123456789abcdef0123456789abcdef";

pub type Spoil = Arc<Mutex<Faults>>;

pub struct WithEtags {
    inner: s3s_fs::FileSystem,
    root: PathBuf,
    spoil: Spoil,
}

impl WithEtags {
    pub fn new(root: &Path, spoil: Spoil) -> Self {
        Self {
            inner: s3s_fs::FileSystem::new(root).expect("a directory"),
            root: root.to_path_buf(),
            spoil,
        }
    }

    fn path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join(bucket).join(key)
    }
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'a>>;

macro_rules! hand_on {
    ($($method:ident $input:ident $output:ident),+ $(,)?) => {$(
        fn $method<'life0, 'async_trait>(&'life0 self, request: S3Request<$input>) -> Answer<'async_trait, $output>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            self.inner.$method(request)
        }
    )+};
}

pub(crate) use hand_on;

impl S3 for WithEtags {
    hand_on! {
        put_object PutObjectInput PutObjectOutput,
        get_object GetObjectInput GetObjectOutput,
        delete_object DeleteObjectInput DeleteObjectOutput,
        delete_objects DeleteObjectsInput DeleteObjectsOutput,
    }

    fn copy_object<'life0, 'async_trait>(
        &'life0 self,
        request: S3Request<CopyObjectInput>,
    ) -> Answer<'async_trait, CopyObjectOutput>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let path = self.path(&request.input.bucket, &request.input.key);
        let spoil = self.spoil.lock().expect("not poisoned").spoil.clone();
        Box::pin(async move {
            let copied = self.inner.copy_object(request).await?;
            if spoil.is_some_and(|part| path.to_string_lossy().contains(&part)) {
                let size = std::fs::read(&path).expect("copied").len();
                std::fs::write(&path, vec![b'#'; size]).expect("spoiled");
            }
            Ok(copied)
        })
    }

    fn head_object<'life0, 'async_trait>(
        &'life0 self,
        request: S3Request<HeadObjectInput>,
    ) -> Answer<'async_trait, HeadObjectOutput>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let opaque = self.spoil.lock().expect("not poisoned").opaque.clone();
        let is_opaque = opaque.is_some_and(|part| request.input.key.contains(&part));
        Box::pin(async move {
            let mut found = self.inner.head_object(request).await?;
            if is_opaque {
                found.output.e_tag = Some(ETag::Strong(OPAQUE.into()));
            }
            Ok(found)
        })
    }

    fn list_objects_v2<'life0, 'async_trait>(
        &'life0 self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<'async_trait, ListObjectsV2Output>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let bucket = request.input.bucket.clone();
        let (opaque, backwards) = {
            let faults = self.spoil.lock().expect("not poisoned");
            (faults.opaque.clone(), faults.backwards)
        };
        Box::pin(async move {
            let mut listed = self.inner.list_objects_v2(request).await?;
            for object in listed.output.contents.iter_mut().flatten() {
                let path = self.path(&bucket, object.key.as_deref().unwrap_or_default());
                let sum = Md5::digest(std::fs::read(path).unwrap_or_default());
                let key = object.key.as_deref().unwrap_or_default();
                if opaque.as_ref().is_some_and(|part| key.contains(part)) {
                    object.e_tag = Some(ETag::Strong(OPAQUE.into()));
                    continue;
                }
                let sum: String = sum.iter().map(|b| format!("{b:02x}")).collect();
                object.e_tag = Some(ETag::Strong(sum));
            }
            if backwards {
                listed.output.contents.iter_mut().for_each(|contents| contents.reverse());
            }
            Ok(listed)
        })
    }
}
