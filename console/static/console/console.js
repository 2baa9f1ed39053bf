// What the pages do beside being read: live parts, times as chosen, keys, copying. Everything works without it but these.
(() => {
  "use strict";
  const root = document.documentElement;
  const main = document.getElementById("main");
  if (!main) return;

  // Choices, in cookies: so the next page comes as chosen, without a flash.
  const cycles = { theme: ["system", "light", "dark"], times: ["relative", "local", "utc"] };
  for (const button of document.querySelectorAll("[data-cycle]")) {
    const name = button.dataset.cycle;
    const show = () => { button.textContent = root.dataset[name]; };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      const known = cycles[name];
      root.dataset[name] = known[(known.indexOf(root.dataset[name]) + 1) % known.length];
      document.cookie = `${name}=${root.dataset[name]};path=/;max-age=31536000;samesite=lax`;
      show();
      times();
    });
  }

  // Times.
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const stretch = (seconds) => {
    const [size, unit] = units.find(([size]) => seconds >= size) || [1, "s"];
    return `${Math.floor(seconds / size)} ${unit}`;
  };
  const local = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  // This machine's clock may be wrong: the server's counts.
  let ahead = 0;
  const times = () => {
    const now = Date.now() - ahead;
    for (const each of document.querySelectorAll("time[datetime]")) {
      const moment = new Date(each.dateTime);
      if (root.dataset.times === "utc") {
        each.textContent = `${each.title.slice(0, 19)} UTC`;
      } else if (root.dataset.times === "local") {
        each.textContent = local.format(moment);
      } else {
        const seconds = (now - moment) / 1000;
        each.textContent = Math.abs(seconds) < 1 ? "now" : seconds > 0 ? `${stretch(seconds)} ago` : `in ${stretch(-seconds)}`;
      }
    }
  };

  // Copying.
  const copying = (where) => {
    for (const button of where.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  });

  // Live parts: asked for while the page is seen, replaced where something changed. What is open stays open, and nothing
  // moves under a hand that is at work in it.
  const live = document.querySelector("[data-live]");
  const sign = document.createElement("p");
  let seen = Date.now(), tag = "", asking = false;
  const busy = () => {
    const active = document.activeElement;
    return (live.contains(active) && active.matches("input, textarea, select")) || live.querySelector(".confirm[open]");
  };
  const refresh = async () => {
    if (document.hidden || asking || busy()) return;
    asking = true;
    try {
      const answer = await fetch(location.pathname + location.search, {
        headers: tag ? { "X-Live": "1", "If-None-Match": tag } : { "X-Live": "1" },
        credentials: "same-origin", redirect: "manual", cache: "no-store",
      });
      if (answer.status === 304 || answer.ok) seen = Date.now();
      const differs = Date.now() - new Date(answer.headers.get("Date"));
      ahead = Math.abs(differs) > 5000 ? differs : 0;
      if (answer.ok) {
        tag = answer.headers.get("ETag") || "";
        replace(await answer.text());
      }
    } catch { /* Shown as stale below. */ } finally { asking = false; }
  };
  const replace = (html) => {
    const open = [...live.querySelectorAll("details[data-keep][open]")].map((each) => each.id);
    const at = document.activeElement && live.contains(document.activeElement) ? document.activeElement.closest("[id]")?.id : "";
    live.innerHTML = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (at) document.getElementById(at)?.querySelector("summary, a, button")?.focus({ preventScroll: true });
    copying(live);
    times();
  };
  if (live) {
    sign.className = "live";
    document.body.append(sign);
    const every = Number(live.dataset.live) * 1000;
    setInterval(refresh, every);
    document.addEventListener("visibilitychange", refresh);
    setInterval(() => {
      const late = Date.now() - seen > every * 2 + 3000;
      sign.classList.toggle("stale", late);
      sign.textContent = late ? `stale since ${stretch((Date.now() - seen) / 1000)}` : "live";
    }, 1000);
    sign.textContent = "live";
  }

  // Keys.
  const keys = document.getElementById("keys");
  for (const button of document.querySelectorAll("[data-keys]")) {
    button.hidden = false;
    button.addEventListener("click", () => keys.showModal());
  }
  const rows = () => [...main.querySelectorAll("[data-row]")].filter((row) => row.offsetParent);
  const step = (by) => {
    const all = rows();
    const here = all.findIndex((row) => row.classList.contains("is-here"));
    const next = all[Math.min(all.length - 1, Math.max(0, here < 0 ? 0 : here + by))];
    if (!next) return;
    all[here]?.classList.remove("is-here");
    next.classList.add("is-here");
    (next.matches("summary") ? next : next.querySelector("a"))?.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      for (const each of document.querySelectorAll(".menu[open], .panel[open]")) each.open = false;
      return;
    }
    if (event.target.matches("input, textarea, select")) return;
    const go = Date.now() - going < 1500 && document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    going = event.key === "g" ? Date.now() : 0;
    if (go) go.click();
    else if (event.key === "/") { event.preventDefault(); document.getElementById("q")?.focus(); }
    else if (event.key === "?" && keys) keys.showModal();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
  });
  document.addEventListener("click", (event) => {
    for (const each of document.querySelectorAll(".menu[open], .panel[open]")) if (!each.contains(event.target)) each.open = false;
  });
  // A scanner ends with Enter: on the bench that is the next row, and the form's end only on the last.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("[data-scan]")) return;
    const fields = [...document.querySelectorAll("[data-scan]:not(:disabled)")];
    const next = fields[fields.indexOf(event.target) + 1];
    event.preventDefault();
    if (next) next.focus(); else document.querySelector(".bench-end .primary")?.focus();
  });

  copying(document);
  times();
  setInterval(times, 1000);
})();
