// Says how hard a new password is to guess, and shows it where one wants to see
// it. Nothing leaves the page; what the server refuses it says itself.
(() => {
  "use strict";

  // Rows of keys and letters, along which fingers run.
  const runs = ["abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm", "01234567890"];
  const common = ["password", "passwort", "letmein", "welcome", "iloveyou", "monkey", "dragon", "football", "baseball", "sunshine", "princess",
    "master", "shadow", "superman", "batman", "trustno", "whatever", "hello", "admin", "login", "secret", "summer", "winter", "spring", "autumn",
    "michael", "jordan", "starwars", "pokemon", "computer", "internet", "charlie", "ashley", "daniel", "jessica", "liverpool", "chelsea", "tokenhouse"];

  // Whose page it is: the menu says their name and organisation.
  const own = (document.querySelector(".who p")?.textContent ?? "").toLowerCase().split(/[^\p{L}\p{N}]+/u).filter((w) => w.length > 3);

  const follows = (a, b) => runs.some((r) => {
    const i = r.indexOf(a), j = r.indexOf(b);
    return i >= 0 && j >= 0 && Math.abs(i - j) === 1;
  });

  // How many characters there really are to guess: a word that everybody knows
  // counts for two, and what repeats or runs on for a quarter each.
  function length(text) {
    let rest = text.toLowerCase(), known = 0;
    for (const word of [...own, ...common]) {
      while (rest.includes(word)) {
        rest = rest.replace(word, " ");
        known += 2;
      }
    }
    const seen = new Map();
    let sum = known, last = "";
    for (const c of rest) {
      const times = seen.get(c) ?? 0;
      seen.set(c, times + 1);
      sum += c === last || follows(last, c) ? 0.25 : times > 2 ? 0.5 : 1;
      last = c;
    }
    return sum;
  }

  const words = ["Very easy to guess", "Easy to guess", "Could be better", "Good", "Very good"];

  function judge(text) {
    const n = length(text);
    return n < 7 ? 0 : n < 11 ? 1 : n < 14 ? 2 : n < 19 ? 3 : 4;
  }

  for (const input of document.querySelectorAll('input[data-use="strength"]')) {
    const meter = document.createElement("meter");
    meter.id = input.id + "-strength";
    meter.max = 4;
    meter.low = 2;
    meter.high = 3;
    meter.optimum = 4;
    meter.setAttribute("aria-label", "How hard it is to guess");
    const said = document.createElement("p");
    said.className = "hint strength";
    said.setAttribute("role", "status");
    input.after(meter, said);
    const tell = () => {
      const score = judge(input.value);
      meter.value = input.value ? score : 0;
      said.textContent = input.value ? words[score] : "";
    };
    input.addEventListener("input", tell);
    tell();
  }

  for (const input of document.querySelectorAll('input[type="password"]')) {
    const show = document.createElement("button");
    const what = (input.labels[0]?.textContent ?? "it").trim().toLowerCase();
    const tell = () => {
      show.textContent = input.type === "password" ? "Show" : "Hide";
      show.setAttribute("aria-label", show.textContent + " " + what);
    };
    show.type = "button";
    show.className = "quiet";
    show.addEventListener("click", () => {
      input.type = input.type === "password" ? "text" : "password";
      tell();
    });
    tell();
    const row = document.createElement("div");
    row.className = "revealing";
    input.before(row);
    row.append(input, show);
    input.form?.addEventListener("submit", () => { input.type = "password"; });
  }
})();
