//! The files of the page that the build has put inside (`GGSCOPE_EMBED_UI`); none if it was built without them.

use rust_embed::Embed;

/// What Vite made.
#[derive(Embed)]
#[folder = "$OUT_DIR/ui"]
pub struct Files;
