//! The key `nightly` of a repository: when its nightly targets are run.

use jiff::civil::Time;
use toml::Spanned;

use super::Checker;

impl Checker<'_> {
    /// Reads a time of the day such as `03:30`, in UTC.
    pub(super) fn nightly(&mut self, raw: Option<Spanned<String>>) -> Option<Time> {
        let raw = raw?;
        let time = Time::strptime("%H:%M", raw.get_ref()).ok();
        if time.is_none() {
            let message = format!(
                "`nightly` is {:?}; write a time of the day in UTC, such as \"03:30\"",
                raw.get_ref()
            );
            self.push(raw.span(), message);
        }
        time
    }
}
