//! Images that a request names by address: fetched before the engine sees the request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::serving::MAX_FETCHED_IMAGES;
use crate::domain::message::{Content, Message, Part};
use crate::outbound::ImageFetcher;
use crate::service::core::Core;
use crate::service::{Result, ServiceError};

/// An image of a request, and its JSON pointer.
pub(in crate::service) type Place<'a> = (String, &'a mut String);

impl Core {
    /// Replaces web URLs of images by their content, as `data:` URLs.
    pub(in crate::service) async fn fetch_images(
        &self,
        images: Option<&mut Vec<String>>,
        messages: Option<&mut Vec<Message>>,
    ) -> Result<()> {
        self.fetch_at(images_of(images, messages)).await
    }

    /// The same for images at given places.
    pub(in crate::service) async fn fetch_at(&self, mut places: Vec<Place<'_>>) -> Result<()> {
        places.retain(|(_, url)| ImageFetcher::is_web(url));
        if places.len() > MAX_FETCHED_IMAGES {
            let detail = format!("the request names {} images by URL; the limit is {MAX_FETCHED_IMAGES}", places.len());
            return Err(ServiceError::field(places[MAX_FETCHED_IMAGES].0.clone(), detail));
        }
        for (pointer, url) in places {
            let (fetcher, address) = (self.images.clone(), url.clone());
            let fetched = tokio::task::spawn_blocking(move || fetcher.fetch(&address)).await;
            let fetched = fetched.map_err(|error| ServiceError::Internal(error.to_string()))?;
            let bytes = fetched.map_err(|error| ServiceError::field(pointer, error.to_string()))?;
            *url = format!("data:image/*;base64,{}", STANDARD.encode(bytes));
        }
        Ok(())
    }
}

fn images_of<'a>(images: Option<&'a mut Vec<String>>, messages: Option<&'a mut Vec<Message>>) -> Vec<Place<'a>> {
    let listed = images.into_iter().flatten().enumerate().map(|(at, url)| (format!("/images/{at}"), url));
    let mut places: Vec<Place<'a>> = listed.collect();
    for (turn, message) in messages.into_iter().flatten().enumerate() {
        let Content::Parts(parts) = &mut message.content else { continue };
        for (at, part) in parts.iter_mut().enumerate() {
            let place = format!("/messages/{turn}/content/{at}");
            match part {
                Part::Image { image, .. } => places.push((format!("{place}/image"), image)),
                Part::ImageUrl { image_url, .. } => places.push((format!("{place}/image_url/url"), &mut image_url.url)),
                Part::Text { .. } | Part::Video { .. } => {}
            }
        }
    }
    places
}
