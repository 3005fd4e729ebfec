//! Ollama's registry, which is one of container images.

use std::env;

use hyper::header::{ACCEPT, HeaderMap, HeaderValue};
use rbee_protocol::{ApiError, ErrorCode};
use serde::Deserialize;

use crate::download::{Remote, is_sha256};
use crate::reference::Reference;
use crate::sources::{Source, SourceFile};
use crate::web::{Told, Web, host, server};

const REGISTRY: &str = "https://registry.ollama.ai";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const MODEL: &str = "application/vnd.ollama.image.model";

/// What belongs to a model's name and tag.
#[derive(Deserialize)]
pub(crate) struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

impl Manifest {
    /// The SHA-256 of the model's file, and its size.
    pub(crate) fn model(&self) -> Option<(&str, u64)> {
        let layer = self.layers.iter().find(|layer| layer.media_type == MODEL)?;
        let sha256 = layer.digest.strip_prefix("sha256:")?;
        is_sha256(sha256).then_some((sha256, layer.size))
    }
}

/// The model's file.
pub(crate) async fn find(web: &Web, name: &str, tag: &str, told: &Told<'_>) -> Result<Source, ApiError> {
    let variable = env::var("RBEE_OLLAMA_REGISTRY").ok().filter(|registry| !registry.is_empty());
    let registry = server("RBEE_OLLAMA_REGISTRY", variable.as_deref().unwrap_or(REGISTRY))?;
    let at = |kind: &str, which: &str| {
        let mut url = registry.clone();
        let mut path = url.path_segments_mut().expect("a registry's URL has a path");
        path.pop_if_empty().push("v2").extend(name.split('/')).extend([kind, which]);
        drop(path);
        url
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST));
    let manifest: Manifest = web.json(&at("manifests", tag), &headers, None, told).await?;
    let Some((sha256, size_bytes)) = manifest.model() else {
        let message = format!("what {} has under {name}:{tag} is no model in one file", host(&registry));
        return Err(
            ApiError::new(ErrorCode::BadData, message).hint("take another tag, or `hf:owner/repository`")
        );
    };
    let remote = Remote {
        url: at("blobs", &format!("sha256:{sha256}")),
        credential: None,
        size_bytes: Some(size_bytes),
        sha256: Some(sha256.to_owned()),
    };
    let short = name.strip_prefix("library/").unwrap_or(name).replace('/', "-");
    Ok(Source {
        reference: Reference::Ollama { name: name.to_owned(), tag: tag.to_owned() },
        files: vec![SourceFile { name: format!("{short}:{tag}.gguf"), remote, version: None }],
        license: None,
    })
}
