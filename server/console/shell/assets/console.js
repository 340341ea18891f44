// What pages do better with scripts. Without this file everything works.
(() => {
  "use strict";

  const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const hour = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  // Times are written in UTC by the server, and here in the viewer's own zone.
  function times(root) {
    for (const t of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(t.dateTime);
      if (isNaN(at)) continue;
      t.title = t.textContent + " · " + zone;
      // A line ends between the two, and not inside of them.
      t.textContent = [date, hour].map((f) => f.format(at).replaceAll(" ", "\u00a0")).join(" ");
    }
  }

  // A button that copies the text of another element, and says so.
  function copies(root) {
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("button[data-copy]")) {
      button.hidden = false;
      const label = button.querySelector("span");
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
          say("Copied");
        } catch {
          say("Select it and copy");
        }
      });
      const say = (text) => {
        label.textContent = text;
        label.setAttribute("role", "status");
        setTimeout(() => { label.textContent = "Copy"; }, 4000);
      };
    }
  }

  // A form is sent once, however often its button is pressed.
  function once(root) {
    for (const form of root.querySelectorAll("form[method=post]")) {
      let sent = false;
      form.addEventListener("submit", (e) => {
        if (sent) { e.preventDefault(); return; }
        sent = true;
        setTimeout(() => { sent = false; }, 5000);
      });
    }
  }

  function better(root) {
    times(root);
    copies(root);
    once(root);
  }

  better(document);
  document.addEventListener("htmx:load", (e) => better(e.detail.elt));
  // A page that the browser keeps holds no secret, and is asked for again when it
  // is shown once more: it may show what is gone.
  const secret = document.querySelector(".secret");
  addEventListener("pagehide", () => {
    for (const code of secret?.querySelectorAll(".copy code") ?? []) code.textContent = "";
  });
  addEventListener("pageshow", (e) => {
    if (e.persisted) location.replace(secret?.dataset.done || location.href);
  });
  // A secret is shown once: the page that shows it leaves no entry in the history,
  // and to load it again does nothing again.
  if (document.querySelector(".secret")) history.replaceState(null, "", document.querySelector(".send a")?.href ?? "/");
  document.querySelector("#menu [aria-current]")?.scrollIntoView({ block: "nearest" });
  document.getElementById("problems")?.focus();
})();
