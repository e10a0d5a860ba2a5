//! Content negotiation (RFC 9110 §8.3, §12.4.2, §12.5.1), without I/O.
//!
//! Reading is tolerant: media types in any letter case, quality values, wildcards, parameters, several
//! field lines. A range that cannot be read is passed over (§12.5.1 gives it no meaning); a field of
//! which nothing can be read accepts nothing.

use crate::error::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};

/// A form in which our servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/octet-stream`: SSZ in the Ethereum APIs, raw bytes in ours.
    Ssz,
    /// `text/event-stream`
    EventStream,
    /// `text/html; charset=utf-8`
    Html,
    /// `text/plain; charset=utf-8`
    Text,
}

impl Media {
    /// The value of `Content-Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ssz => "application/octet-stream",
            Self::EventStream => "text/event-stream",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// The header line of an answer in this form.
    pub const fn header(self) -> (HeaderName, HeaderValue) {
        (header::CONTENT_TYPE, HeaderValue::from_static(self.as_str()))
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application", "json"),
            Self::Ssz => ("application", "octet-stream"),
            Self::EventStream => ("text", "event-stream"),
            Self::Html => ("text", "html"),
            Self::Text => ("text", "plain"),
        }
    }

    const fn is_text(self) -> bool {
        !matches!(self, Self::Ssz)
    }
}

/// 406: none of the offered forms is acceptable (RFC 9110 §15.5.7).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not acceptable: this resource is served as {offered}")]
pub struct NotAcceptable {
    offered: String,
}

/// 415: the body's form is not one that the resource reads (RFC 9110 §15.5.16).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported media type: this resource reads {accepted}")]
pub struct Unsupported {
    accepted: String,
}

impl From<NotAcceptable> for ApiError {
    fn from(error: NotAcceptable) -> Self {
        Self::status(StatusCode::NOT_ACCEPTABLE, error.to_string())
    }
}

impl From<Unsupported> for ApiError {
    fn from(error: Unsupported) -> Self {
        Self::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string())
    }
}

fn listed(media: &[Media]) -> String {
    media.iter().map(|media| media.as_str()).collect::<Vec<_>>().join(" or ")
}

/// The form to answer in: the one of highest quality, and among equals the one that `offered` has first.
///
/// No `Accept` field, or an empty one, accepts everything (RFC 9110 §12.5.1). For each form the most
/// specific range decides, so `*/*, application/json;q=0` refuses JSON and takes the rest.
pub fn accept(headers: &HeaderMap, offered: &[Media]) -> Result<Media, NotAcceptable> {
    let refused = || NotAcceptable { offered: listed(offered) };
    let mut ranges = Vec::new();
    let mut stated = false;
    for value in headers.get_all(header::ACCEPT) {
        let text = String::from_utf8_lossy(value.as_bytes());
        stated |= text.chars().any(|c| !matches!(c, ' ' | '\t' | ','));
        ranges.extend(MediaTypeList::new(&text).flatten().filter_map(|range| Range::read(&range)));
    }
    if !stated {
        return offered.first().copied().ok_or_else(refused);
    }
    let mut best: Option<(u16, Media)> = None;
    for &media in offered {
        let quality = quality_of(media, &ranges);
        if quality > best.map_or(0, |(quality, _)| quality) {
            best = Some((quality, media));
        }
    }
    best.map(|(_, media)| media).ok_or_else(refused)
}

fn quality_of(media: Media, ranges: &[Range]) -> u16 {
    ranges
        .iter()
        .filter_map(|range| range.specificity(media).map(|specificity| (specificity, range.quality)))
        .max()
        .map_or(0, |(_, quality)| quality)
}

/// One media range of an `Accept` field with its quality in thousandths.
struct Range {
    kind: String,
    subtype: String,
    suffix: bool,
    foreign_charset: bool,
    quality: u16,
}

impl Range {
    fn read(range: &MediaType<'_>) -> Option<Self> {
        let quality = match range.get_param(Name::new_unchecked("q")) {
            Some(value) => quality(value.as_str())?,
            None => 1000,
        };
        Some(Self {
            kind: range.ty.as_str().to_ascii_lowercase(),
            subtype: range.subty.as_str().to_ascii_lowercase(),
            suffix: range.suffix.is_some(),
            foreign_charset: foreign_charset(range),
            quality,
        })
    }

    /// How closely the range names the form; none if it does not cover it.
    fn specificity(&self, media: Media) -> Option<u8> {
        let (kind, subtype) = media.names();
        if self.suffix || (media.is_text() && self.foreign_charset) {
            return None;
        }
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => Some(0),
            (k, "*") if k == kind => Some(1),
            (k, s) if k == kind && s == subtype => Some(2),
            _ => None,
        }
    }
}

/// `qvalue` of RFC 9110 §12.4.2 in thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn foreign_charset(media: &MediaType<'_>) -> bool {
    media.get_param(Name::new_unchecked("charset")).is_some_and(|value| {
        let charset = value.unquoted_str();
        !["utf-8", "utf8", "us-ascii", "*"].iter().any(|known| charset.eq_ignore_ascii_case(known))
    })
}

/// The form of the request's body. Without a `Content-Type` it is the first that the resource reads
/// (RFC 9110 §8.3 lets a recipient assume); text in a charset other than UTF-8 is refused.
pub fn content_type(headers: &HeaderMap, accepted: &[Media]) -> Result<Media, Unsupported> {
    let refused = || Unsupported { accepted: listed(accepted) };
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return accepted.first().copied().ok_or_else(refused) };
    if values.next().is_some() {
        return Err(refused());
    }
    let text = value.to_str().map_err(|_| refused())?;
    let stated = MediaType::parse(text.trim()).map_err(|_| refused())?;
    accepted
        .iter()
        .copied()
        .find(|media| {
            let (kind, subtype) = media.names();
            stated.ty.as_str().eq_ignore_ascii_case(kind)
                && stated.subty.as_str().eq_ignore_ascii_case(subtype)
                && stated.suffix.is_none()
                && !(media.is_text() && foreign_charset(&stated))
        })
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Media::{EventStream, Json, Ssz};

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    /// Offered: JSON before SSZ.
    #[test]
    fn accept_by_table() {
        let cases: &[(&[&str], Option<Media>)] = &[
            (&[], Some(Json)),
            (&[""], Some(Json)),
            (&[" , ,"], Some(Json)),
            (&["application/json"], Some(Json)),
            (&["application/octet-stream"], Some(Ssz)),
            (&["APPLICATION/Octet-Stream"], Some(Ssz)),
            (&["*/*"], Some(Json)),
            (&["application/*"], Some(Json)),
            (&["text/*"], None),
            (&["text/html"], None),
            // What mev-boost, Commit-Boost and the consensus clients send.
            (&["application/octet-stream;q=1.0,application/json;q=0.9"], Some(Ssz)),
            (&["application/octet-stream; q=1.0, application/json; q=0.9"], Some(Ssz)),
            (&["application/octet-stream;q=1,application/json;q=0.9"], Some(Ssz)),
            (&["application/json, application/octet-stream"], Some(Json)),
            (&["application/octet-stream, application/json"], Some(Json)),
            (&["application/json;q=0.9, application/octet-stream"], Some(Ssz)),
            (&["application/octet-stream,application/json;q=0.9,*/*;q=0.1"], Some(Ssz)),
            // §12.4.2: weight 0 is "not acceptable", and a missing one is 1.
            (&["application/json;q=0"], None),
            (&["application/json;q=0, */*"], Some(Ssz)),
            (&["*/*, application/json;q=0"], Some(Ssz)),
            (&["*/*;q=0"], None),
            (&["application/json;q=0.000, application/octet-stream;q=0.001"], Some(Ssz)),
            (&["application/json;q=0.001, application/octet-stream;q=0.002"], Some(Ssz)),
            (&["application/json;Q=0.1, application/octet-stream;Q=0.2"], Some(Ssz)),
            (&["application/json;q=1.000, application/octet-stream;q=1."], Some(Json)),
            // §12.5.1: the most specific range decides, wherever it stands.
            (&["application/*;q=0.2, application/octet-stream;q=0.1, */*"], Some(Json)),
            (&["*/*;q=0.9, application/json;q=0.1"], Some(Ssz)),
            (&["application/*;q=0, */*"], None),
            // Several field lines are one list (§5.3).
            (&["text/html", "application/octet-stream"], Some(Ssz)),
            (&["application/json;q=0.4", "application/octet-stream;q=0.5"], Some(Ssz)),
            // Parameters.
            (&["application/json; charset=utf-8"], Some(Json)),
            (&["application/json;charset=\"UTF-8\""], Some(Json)),
            (&["application/json; charset=iso-8859-1"], None),
            (&["application/json; charset=iso-8859-1, application/octet-stream"], Some(Ssz)),
            (&["application/octet-stream; x=\"a,b;q=0\", application/json;q=0.5"], Some(Ssz)),
            (&["application/json;version=1;q=0.3, application/octet-stream;q=0.2"], Some(Json)),
            // Unreadable ranges are passed over.
            (&["application/json;q=2"], None),
            (&["application/json;q=abc, application/octet-stream"], Some(Ssz)),
            (&["application/json;q=0.0001, application/octet-stream"], Some(Ssz)),
            (&["application/json;q=-1, application/octet-stream"], Some(Ssz)),
            (&["json"], None),
            (&["*"], None),
            (&["application"], None),
            (&["application/vnd.api+json"], None),
            (&["text/html, , application/json"], Some(Json)),
            (&["\u{e9}/x, application/json"], Some(Json)),
        ];
        for (lines, expected) in cases {
            let got = accept(&headers(&header::ACCEPT, lines), &[Json, Ssz]).ok();
            assert_eq!(got, *expected, "{lines:?}");
        }
    }

    #[test]
    fn equal_quality_takes_the_servers_order() {
        let any = headers(&header::ACCEPT, &["*/*"]);
        assert_eq!(accept(&any, &[Ssz, Json]).unwrap(), Ssz);
        assert_eq!(accept(&any, &[EventStream]).unwrap(), EventStream);
        assert_eq!(accept(&HeaderMap::new(), &[Ssz, Json]).unwrap(), Ssz);
        assert!(accept(&any, &[]).is_err());
    }

    #[test]
    fn content_type_by_table() {
        let cases: &[(&[&str], Option<Media>)] = &[
            (&[], Some(Json)),
            (&["application/json"], Some(Json)),
            (&["Application/JSON"], Some(Json)),
            (&["application/json; charset=utf-8"], Some(Json)),
            (&["application/json;charset=UTF-8"], Some(Json)),
            (&["application/json; charset=\"utf-8\""], Some(Json)),
            (&[" application/json "], Some(Json)),
            (&["application/json; charset=utf-16"], None),
            (&["application/octet-stream"], Some(Ssz)),
            (&["application/octet-stream; charset=latin1"], Some(Ssz)),
            (&["text/plain"], None),
            (&["*/*"], None),
            (&["application/*"], None),
            (&["application/json+x"], None),
            (&["json"], None),
            (&[""], None),
            (&["application/json, application/octet-stream"], None),
            (&["application/json", "application/octet-stream"], None),
            (&["\u{e9}"], None),
        ];
        for (lines, expected) in cases {
            let got = content_type(&headers(&header::CONTENT_TYPE, lines), &[Json, Ssz]).ok();
            assert_eq!(got, *expected, "{lines:?}");
        }
        assert!(
            content_type(&headers(&header::CONTENT_TYPE, &["application/octet-stream"]), &[Json]).is_err()
        );
    }

    #[test]
    fn refusals_say_what_there_is() {
        let error = ApiError::from(accept(&headers(&header::ACCEPT, &["a/b"]), &[Json, Ssz]).unwrap_err());
        assert_eq!(error.status, StatusCode::NOT_ACCEPTABLE);
        assert_eq!(
            error.message,
            "not acceptable: this resource is served as application/json or application/octet-stream"
        );
        let error =
            ApiError::from(content_type(&headers(&header::CONTENT_TYPE, &["a/b"]), &[Json]).unwrap_err());
        assert_eq!(error.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(error.message, "unsupported media type: this resource reads application/json");
    }

    #[test]
    fn quality_by_table() {
        let cases = [
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.123", Some(123)),
            ("1", Some(1000)),
            ("1.0", Some(1000)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.1234", None),
            ("", None),
            (".5", None),
            ("+1", None),
            ("0.+1", None),
            ("1e0", None),
        ];
        for (text, expected) in cases {
            assert_eq!(quality(text), expected, "{text}");
        }
    }

    /// Any bytes: no panic, and what is chosen is what was offered.
    #[test]
    fn any_header_bytes() {
        bolero::check!().with_iterations(2000).for_each(|bytes| {
            let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value.clone());
            headers.insert(header::CONTENT_TYPE, value);
            if let Ok(media) = accept(&headers, &[Json, Ssz]) {
                assert!([Json, Ssz].contains(&media));
            }
            let _ = content_type(&headers, &[Json, Ssz]);
        });
    }
}
