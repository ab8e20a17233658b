"use strict";
// The viewer's filters and keys. Works on what the page already holds; makes no markup from data.
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const all = [...document.querySelectorAll("details.trajectory")];
  const fields = [...form.querySelectorAll("[data-filter]")];
  const search = form.querySelector("input");
  const count = document.getElementById("count");
  const texts = new Map(all.map((one) => [one, one.textContent.toLowerCase()]));
  let current = all.find((one) => one.open) || null;

  const visible = () => all.filter((one) => !one.hidden);

  function apply() {
    for (const one of all) {
      one.hidden = !fields.every((field) => {
        const wanted = field.value;
        if (!wanted) return true;
        const name = field.dataset.filter;
        return name === "text" ? texts.get(one).includes(wanted.toLowerCase()) : one.dataset[name] === wanted;
      });
    }
    count.textContent = `${visible().length} of ${all.length} shown`;
  }

  function go(one) {
    if (!one) return;
    if (current && current !== one) current.open = false;
    current = one;
    one.open = true;
    one.querySelector("summary").focus({ preventScroll: true });
    one.scrollIntoView({ block: "start" });
  }

  function step(by) {
    const shown = visible();
    const at = shown.indexOf(current);
    go(shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(Math.max(at + by, 0), shown.length - 1)]);
  }

  function openLinked() {
    const one = /^#t\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!one) return;
    if (one.hidden) {
      form.reset();
      apply();
    }
    go(one);
  }

  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const one of all) one.querySelector("summary").addEventListener("click", () => { current = one; });
  window.addEventListener("hashchange", openLinked);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && event.target === search) {
      search.blur();
      return;
    }
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/") {
      event.preventDefault();
      search.focus();
      search.scrollIntoView({ block: "center" });
    }
  });
  apply();
  openLinked();
})();
