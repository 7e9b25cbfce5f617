// What the pages do beyond what they do without a script: follow a log, refresh what changed, keep ages true.
// Invariant: text of a log or a page's data only ever becomes text nodes and class names from the fixed list below.
"use strict";

(() => {
  const LOG_CHARS_MAX = 4 * 1024 * 1024;

  // ---- ages -------------------------------------------------------------------------------------------------------
  const steps = [[60, "s"], [3600, "min"], [86400, "h"], [30 * 86400, "d"], [365 * 86400, "mo"], [Infinity, "y"]];
  const sizes = { s: 1, min: 60, h: 3600, d: 86400, mo: 30 * 86400, y: 365 * 86400 };
  function age(seconds) {
    if (seconds < 5) return "just now";
    const [, unit] = steps.find(([limit]) => seconds < limit);
    return `${Math.floor(seconds / sizes[unit])} ${unit} ago`;
  }
  function refreshAges() {
    for (const time of document.querySelectorAll("time[data-age]")) {
      time.textContent = age(Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000));
    }
  }
  setInterval(refreshAges, 15000);

  // ---- passkeys -------------------------------------------------------------------------------------------------------
  const toBytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
  const toText = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  async function send(path, body) {
    const answer = await fetch(path, {
      method: "POST",
      credentials: "same-origin",
      headers: { Accept: "application/json", "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(said.error || `The forge answered ${answer.status}.`);
    return said;
  }
  const passkeyActs = {
    async add(form) {
      const options = await send("/news/settings/passkeys/begin", {});
      options.challenge = toBytes(options.challenge);
      options.user.id = toBytes(options.user.id);
      for (const known of options.excludeCredentials ?? []) known.id = toBytes(known.id);
      const made = await navigator.credentials.create({ publicKey: options });
      const response = {
        attestationObject: toText(made.response.attestationObject),
        clientDataJSON: toText(made.response.clientDataJSON),
      };
      const credential = { id: made.id, rawId: toText(made.rawId), type: made.type, response };
      await send("/news/settings/passkeys", { name: form.elements.name.value, credential });
      location.reload();
    },
    async "sign-in"() {
      const options = await send("/news/sign-in/passkey/begin", {});
      options.challenge = toBytes(options.challenge);
      delete options.allowCredentials;
      const found = await navigator.credentials.get({ publicKey: options });
      const response = {
        authenticatorData: toText(found.response.authenticatorData),
        clientDataJSON: toText(found.response.clientDataJSON),
        signature: toText(found.response.signature),
        userHandle: found.response.userHandle ? toText(found.response.userHandle) : null,
      };
      await send("/news/sign-in/passkey", { id: found.id, rawId: toText(found.rawId), type: found.type, response });
      location.assign("/news");
    },
  };
  const passkeyProblems = {
    NotAllowedError: "It was cancelled, or took too long.",
    InvalidStateError: "This device has a passkey for you here already.",
    SecurityError: "This page's address is not the one that the forge is configured with.",
  };
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const problem = document.querySelector("[data-passkey-problem]");
    if (!window.PublicKeyCredential) {
      if (form.dataset.passkey === "add") {
        problem.textContent = "This browser has no passkeys, or none for this address.";
        problem.hidden = false;
      }
      continue;
    }
    for (const part of [form, form.closest("[data-passkey-section]")]) if (part) part.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      problem.hidden = true;
      const button = form.querySelector("button");
      button.disabled = true;
      try {
        await passkeyActs[form.dataset.passkey](form);
      } catch (error) {
        problem.textContent = passkeyProblems[error.name] ?? error.message;
        problem.hidden = false;
      }
      button.disabled = false;
    });
  }

  // ---- parts of the page that follow the forge ----------------------------------------------------------------------
  let refreshing = null;
  let again = false;
  async function refresh() {
    if (refreshing) { again = true; return; }
    refreshing = (async () => {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
        if (!answer.ok || answer.redirected) return;
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (isOtherHead(fresh)) return;
        for (const part of document.querySelectorAll("[data-live]")) {
          const other = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
          if (other && other.innerHTML !== part.innerHTML && !part.contains(document.activeElement)) {
            part.replaceWith(document.importNode(other, true));
            if (part.dataset.live === "tutorial") mark(fresh);
          }
        }
        if (fresh.title) document.title = fresh.title;
        const body = fresh.body.dataset;
        if ("busy" in document.body.dataset && !("busy" in body)) delete document.body.dataset.busy;
        if ("busy" in body) document.body.dataset.busy = "";
        // The log appears with the run; a page that had none shows it by loading anew.
        if (fresh.querySelector("#log") && !document.querySelector("#log")) location.reload();
        refreshAges();
      } catch { /* The forge is away; the next change or tick tries again. */ }
    })();
    await refreshing;
    refreshing = null;
    if (again) { again = false; later(); }
  }
  // What is merged or closed is what was looked at: a newer head is shown when its reader asks for it, whole.
  function isOtherHead(fresh) {
    const [now, then] = [document, fresh].map((page) => page.querySelector("[data-head]"));
    if (!now || !then || now.dataset.head === then.dataset.head) return false;
    if (!document.getElementById("newer-head")) {
      const note = document.createElement("div");
      note.className = "note is-busy";
      note.id = "newer-head";
      note.setAttribute("role", "status");
      const link = document.createElement("a");
      link.href = location.pathname;
      link.textContent = "Show it";
      note.append("A newer head was pushed. This page shows the one before it. ", link);
      now.after(note);
    }
    return true;
  }
  let timer = null;
  function later() {
    clearTimeout(timer);
    timer = setTimeout(refresh, 200);
  }
  if (document.body.dataset.changes) {
    const changes = new EventSource(document.body.dataset.changes);
    // Something may have changed between the page and this stream, or while it was broken.
    changes.addEventListener("ready", later);
    changes.addEventListener("change", later);
  }
  // Phases and jobs move without the forge hearing of it.
  setInterval(() => { if ("busy" in document.body.dataset && !document.hidden) refresh(); }, 2500);

  // ---- changes and their tutorial ---------------------------------------------------------------------------------------
  // What comes from the forge is its own markup: a model's words and a diff's lines are escaped there.
  async function fetched(address) {
    const answer = await fetch(address, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }
  for (const waiting of document.querySelectorAll("[data-load]")) {
    fetched(waiting.dataset.load).then((page) => {
      waiting.replaceWith(...[...page.body.children].map((part) => document.importNode(part, true)));
      watchFiles();
      arrive();
    }).catch(() => { waiting.querySelector("[role=status]").textContent = "The changes could not be read. Reload to try again."; });
  }
  async function fill(file) {
    if (!file.dataset.src) return;
    const address = file.dataset.src;
    delete file.dataset.src;
    try {
      const page = await fetched(`${address}&fragment=1`);
      file.querySelector(".diff").replaceWith(document.importNode(page.querySelector(".diff"), true));
    } catch { file.dataset.src = address; }
  }
  function watchFiles() {
    for (const file of document.querySelectorAll("details.file[data-src]")) {
      file.addEventListener("toggle", () => { if (file.open) fill(file); });
      // Opened before this script was there.
      if (file.open) fill(file);
    }
  }
  // Another tutorial shows other lines. What is open stays open.
  function mark(fresh) {
    const [now, then] = [document, fresh].map((page) => page.querySelector("[data-changes-of]"));
    if (!now || !then) return;
    for (const file of now.querySelectorAll("details.file[id]")) {
      const other = fresh.getElementById(file.id);
      if (!other) continue;
      const [shown, marked] = [file, other].map((part) => part.querySelector(".diff"));
      if ("src" in other.dataset) {
        file.dataset.src = other.dataset.src;
        if (file.open) fill(file);
      } else if (shown && marked && shown.innerHTML !== marked.innerHTML) {
        shown.replaceWith(document.importNode(marked, true));
      }
    }
  }
  async function go(number, target) {
    const file = document.getElementById(`file-${number}`);
    if (!file) return false;
    file.open = true;
    await fill(file);
    for (const row of document.querySelectorAll("tr.target")) row.classList.remove("target");
    const place = document.getElementById(target) || file;
    if (place.tagName === "TR") place.classList.add("target");
    place.scrollIntoView({ block: place === file ? "start" : "center" });
    return true;
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-file]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (!document.getElementById(`file-${link.dataset.file}`)) return;
    event.preventDefault();
    const target = link.hash.slice(1);
    history.pushState(null, "", `#${target}`);
    go(link.dataset.file, target);
  });
  // A link to a line that is not on the page yet.
  function arrive() {
    const target = location.hash.slice(1);
    if (!/^[a-z0-9-]+$/.test(target)) return;
    const found = document.getElementById(target);
    const link = document.querySelector(`a[data-file][href$="#${target}"]`);
    const file = found && found.closest("details.file");
    if (file) go(file.id.slice("file-".length), target);
    else if (link) go(link.dataset.file, target);
  }
  addEventListener("hashchange", arrive);
  watchFiles();
  arrive();
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.classList.contains("tick-form")) return;
    event.preventDefault();
    const wanted = form.elements.is_ticked.value === "true";
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), credentials: "same-origin" });
      if (!answer.ok) return;
      form.elements.is_ticked.value = String(!wanted);
      const button = form.querySelector("button");
      button.setAttribute("aria-pressed", String(wanted));
      button.textContent = wanted ? "✓ Read" : "Mark as read";
      form.closest(".step").classList.toggle("ticked", wanted);
    } catch { /* The forge is away; the button is as it was. */ }
  });

  // ---- the log --------------------------------------------------------------------------------------------------------
  const log = document.getElementById("log");
  if (!log || !log.dataset.stream) {
    if (log) log.scrollTop = log.scrollHeight;
    return;
  }
  const state = document.getElementById("log-state");
  const follow = document.getElementById("follow");
  let size = log.textContent.length;
  let style = { bold: false, faint: false, italic: false, underline: false, colour: null };
  let held = "";

  function classes() {
    const names = ["bold", "faint", "italic", "underline"].filter((name) => style[name]).map((name) => `a-${name}`);
    if (style.colour !== null) names.push(`a-${style.colour}`);
    return names.join(" ");
  }
  function select(codes) {
    for (let at = 0; at < codes.length; at++) {
      const code = codes[at];
      if (code === 0) style = { bold: false, faint: false, italic: false, underline: false, colour: null };
      else if (code === 1) style.bold = true;
      else if (code === 2) style.faint = true;
      else if (code === 3) style.italic = true;
      else if (code === 4) style.underline = true;
      else if (code === 22) style.bold = style.faint = false;
      else if (code === 23) style.italic = false;
      else if (code === 24) style.underline = false;
      else if (code >= 30 && code <= 37) style.colour = code - 30;
      else if (code >= 90 && code <= 97) style.colour = code - 90;
      else if (code === 39) style.colour = null;
      else if (code === 38 || code === 48) at += codes[at + 1] === 5 ? 2 : 4;
    }
  }
  function put(parent, text) {
    if (!text) return;
    size += text.length;
    const name = classes();
    if (!name) { parent.append(text); return; }
    const span = document.createElement("span");
    span.className = name;
    span.textContent = text;
    parent.append(span);
  }
  // Escape sequences: colours are kept, the others dropped; one that is not whole waits for its rest.
  const sequence = /\x1b(?:\[([0-9;:?<=>]*)[ -\/]*([@-~])|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[()#%][ -~]|[0-Z\\^-~])/g;
  function write(text) {
    text = held + text;
    held = "";
    const cut = text.lastIndexOf("\x1b");
    if (cut >= 0 && text.length - cut < 64 && !new RegExp(sequence.source).test(text.slice(cut))) {
      held = text.slice(cut);
      text = text.slice(0, cut);
    }
    const piece = document.createElement("span");
    let from = 0;
    for (const match of text.matchAll(sequence)) {
      put(piece, clean(text.slice(from, match.index)));
      if (match[2] === "m") select((match[1] || "0").split(/[;:]/).map(Number));
      from = match.index + match[0].length;
    }
    put(piece, clean(text.slice(from)));
    log.append(piece);
    while (size > LOG_CHARS_MAX && log.childNodes.length > 1) {
      size -= log.firstChild.textContent.length;
      log.firstChild.remove();
    }
  }
  function clean(text) {
    return text.replace(/\r\n?/g, "\n").replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, "");
  }
  function toEnd() { log.scrollTop = log.scrollHeight; }
  function say(text) { if (state) state.textContent = text; }

  let byScript = false;
  log.addEventListener("scroll", () => {
    if (byScript) { byScript = false; return; }
    follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  });
  follow.addEventListener("change", () => { if (follow.checked) toEnd(); });
  document.getElementById("follow-label").hidden = false;
  toEnd();

  const events = new EventSource(log.dataset.stream);
  events.addEventListener("open", () => say("following live"));
  events.addEventListener("error", () => {
    say(events.readyState === EventSource.CLOSED ? "not live; reload to try again" : "connection lost, trying again…");
  });
  events.addEventListener("log", (event) => {
    write(JSON.parse(event.data).text);
    if (follow.checked) { byScript = true; toEnd(); }
  });
  events.addEventListener("restart", (event) => {
    log.replaceChildren();
    size = 0;
    held = "";
    style = { bold: false, faint: false, italic: false, underline: false, colour: null };
    say(`attempt ${JSON.parse(event.data).attempt} began`);
  });
  events.addEventListener("failure", (event) => { say(JSON.parse(event.data).error); events.close(); });
  events.addEventListener("end", () => {
    events.close();
    log.classList.add("is-over");
    say("complete");
    later();
  });
})();
