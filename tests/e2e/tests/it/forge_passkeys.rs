//! Signing in with a passkey, in a real browser with a device of its own.

use e2e::{Browser, Client, TestForge, TestForgeOptions};
use serde_json::{Value, json};

/// A forge at a name, for browsers offer passkeys nowhere else, and a browser in which Ada is signed in.
struct Fixture {
    forge: TestForge,
    url: String,
    browser: Browser,
    device: String,
}

impl Fixture {
    fn start() -> Fixture {
        let forge = TestForge::start_with(&TestForgeOptions { host: "localhost", ..Default::default() });
        let url = forge.url().to_owned();
        let mut browser = Browser::open_signed_out();
        let device = browser.add_authenticator();
        let mut fixture = Fixture { forge, url, browser, device };
        fixture.sign_in_by_link();
        fixture
    }

    fn sign_in_by_link(&mut self) {
        let link = self.forge.sign_in_link();
        self.go(&link);
        self.browser.until("the link's page is there", "!!document.querySelector('main form button')");
        self.browser.click("main form button");
        self.browser.until("somebody is signed in", "location.pathname === '/news'");
    }

    fn go(&mut self, path: &str) {
        self.browser.go(&format!("{}{path}", self.url));
        self.browser.until("the page is there", "document.readyState === 'complete'");
    }

    fn add_passkey(&mut self) {
        self.go("/news/settings/passkeys");
        self.browser.value("document.querySelector('#name').value = 'the laptop'");
        self.browser.click("form[data-passkey=add] button");
        self.browser.until("it is listed", "document.body.innerText.includes('the laptop')");
    }

    fn sign_out(&mut self) {
        self.browser.click("form[action='/news/sign-out'] button");
        self.browser.until("nobody is signed in", "location.pathname === '/news/sign-in'");
        self.browser.until("the page is there", "document.readyState === 'complete'");
    }

    /// Presses the button, and returns what the page says, which is nothing when somebody is signed in.
    fn sign_in(&mut self) -> String {
        self.go("/news/sign-in");
        self.browser.click("form[data-passkey=sign-in] button");
        let problem = "document.querySelector('[data-passkey-problem]:not([hidden])')";
        self.browser.until("it is over", &format!("location.pathname === '/news' || !!{problem}"));
        self.browser.text("[data-passkey-problem]:not([hidden])")
    }

    /// The words of the audit log about passkeys, the newest first.
    fn audited(&self) -> Vec<String> {
        let log: Value = self.forge.client().get("/news/api/forge/audit?limit=50").expect(200).json();
        let entries = log["entries"].as_array().unwrap().iter();
        let words = entries.map(|entry| entry["action"].as_str().unwrap().to_owned());
        words.filter(|word| word.starts_with("passkey.")).collect()
    }
}

#[test]
fn a_passkey_signs_its_owner_in_until_it_is_removed() {
    let mut fixture = Fixture::start();
    fixture.add_passkey();
    fixture.sign_out();
    assert_eq!(fixture.sign_in(), "");
    assert!(fixture.browser.text("header").contains("Sign out"));
    fixture.go("/news/settings/passkeys");
    assert!(fixture.browser.text("main").contains("last used"), "{}", fixture.browser.text("main"));

    // The device knows that it has one.
    fixture.browser.value("document.querySelector('#name').value = 'again'");
    fixture.browser.click("form[data-passkey=add] button");
    fixture.browser.until("it is refused", "document.body.innerText.includes('here already')");

    fixture.browser.click("form[action$='/remove'] button");
    fixture.browser.until("it is gone", "document.body.innerText.includes('None yet.')");
    fixture.sign_out();
    assert!(fixture.sign_in().contains("not known here any more"));
    assert_eq!(fixture.audited(), ["passkey.removed", "passkey.added"]);
}

#[test]
fn a_device_that_is_not_unlocked_a_copied_key_and_an_answer_that_was_used_sign_nobody_in() {
    let mut fixture = Fixture::start();
    fixture.add_passkey();
    let device = fixture.device.clone();
    let copy = fixture.browser.credentials(&device).remove(0);
    fixture.sign_out();
    fixture.browser.set_user_verified(&device, false);
    assert_ne!(fixture.sign_in(), "");
    fixture.browser.set_user_verified(&device, true);

    // What the page sends is kept, to be sent once more.
    fixture.go("/news/sign-in");
    fixture.browser.value(
        "(() => { const send = window.fetch; window.fetch = (path, options) => {
            if (path === '/news/sign-in/passkey') sessionStorage.setItem('sent', options.body);
            return send(path, options); }; })()",
    );
    fixture.browser.click("form[data-passkey=sign-in] button");
    fixture.browser.until("somebody is signed in", "location.pathname === '/news'");
    let sent = fixture.browser.value("sessionStorage.getItem('sent')");
    let sent: Value = serde_json::from_str(sent.as_str().unwrap()).unwrap();
    let stranger = Client::new(&fixture.url, None);
    assert!(stranger.post("/news/sign-in/passkey", &sent).expect(403).body.contains("in this browser"));
    let asked = stranger.post("/news/sign-in/passkey/begin", &json!({})).expect(200);
    let cookie = asked.cookie.unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let began = stranger.with_cookie(cookie.split(';').next().unwrap());
    assert!(began.post("/news/sign-in/passkey", &sent).expect(403).cookie.is_none());
    // Once more with the same cookie: what it was begun with is gone.
    assert!(began.post("/news/sign-in/passkey", &sent).expect(403).body.contains("in this browser"));

    fixture.sign_out();
    fixture.browser.remove_credential(&device, &copy);
    fixture.browser.add_credential(&device, &copy);
    assert!(fixture.sign_in().contains("copied"));
    assert_eq!(fixture.audited(), ["passkey.refused", "passkey.added"]);
}
