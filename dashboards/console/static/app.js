// Where everything meets: what is known, how it arrives, where the reader is, and the pages.
// Lives here: the wiring, the beat of one second. Not here: anything that could be told or tested without it.

import { Acknowledging, notice } from "./acknowledge.js";
import * as acts from "./acts.js";
import { AlarmCard } from "./alarm-card.js";
import { AlarmList } from "./alarm-list.js";
import { AlarmTable } from "./alarm-table.js";
import * as clock from "./clock.js";
import { el, text } from "./dom.js";
import { TimeSince } from "./format.js";
import { Frame } from "./frame.js";
import { HallPage } from "./hall.js";
import { Hidden } from "./hidden.js";
import { listen } from "./keys.js";
import { Link } from "./link.js";
import { Quality } from "./quality.js";
import { Route } from "./route.js";
import { Sound } from "./sound.js";
import { Store, keyOf, unacknowledged } from "./store.js";

const store = new Store();
const link = new Link(store);
const route = new Route();
const acknowledging = new Acknowledging(store);

// While nobody says what is stale, it is told here from when each asset was last heard.
const isStale = (asset) =>
  Boolean(asset.stale) ||
  (link.state === "lost" &&
    (!link.trusted() || (asset.heard !== null && clock.now() - asset.heard > (store.staleAfter ?? 60) * 1000)));

const frame = new Frame(store, link, route);
const hall = new HallPage(store, link, route, isStale, acknowledging);
const list = new AlarmList(store, acknowledging, chooseBeside);
const table = new AlarmTable(store, route, acknowledging, (id) => route.go("alarms", id, route.query));
const drawer = new AlarmCard(
  store,
  acknowledging,
  "Choose an alarm: click its row, or move with the arrow keys and press Enter.",
);
const quality = new Quality(store, isStale);
const lost = el(
  "section.card.blank",
  {},
  el("p", {}, "There is no such page."),
  el("p", {}, el("a", { href: "#/" }, "To the hall")),
);

const main = document.getElementById("main");
const side = document.getElementById("side");
const app = document.getElementById("app");

const PAGES = {
  hall: {
    main: [...hall.nodes],
    side: list.root,
    name: "Active alarms",
    place: () => hall.place(),
    update: () => {
      hall.update();
      list.update();
      list.select(route.query.get("alarm"));
    },
  },
  alarms: {
    main: table.nodes,
    side: drawer.root,
    name: "Selected alarm",
    wide: true,
    place: () => "Alarms",
    update: () => {
      table.update();
      table.select(route.id);
      drawer.show(route.id);
      drawer.update();
    },
  },
  quality: { main: quality.nodes, side: null, place: () => "Data quality", update: () => quality.update() },
};

// Pages that the first sight does not need: fetched when they are first gone to. Each has nodes, place(), update(),
// beat(), and values() and alarms() where those mean less than update().
const LATER = {
  overview: async () => new (await import("./overview.js")).Overview(parts),
  loop: async () => new (await import("./loop.js")).LoopPage(parts),
  rack: async () => new (await import("./rack.js")).RackPage(parts),
  power: async () => new (await import("./power.js")).PowerPage(parts),
  gpus: async () => new (await import("./gpus.js")).GpusPage(parts),
  efficiency: async () => new (await import("./efficiency.js")).EfficiencyPage(parts),
  trend: async () => new (await import("./trend-page.js")).TrendPage(parts),
  capacity: async () => new (await import("./capacity.js")).Capacity(parts),
  kpis: async () => new (await import("./kpis.js")).Kpis(parts),
};
const parts = { store, route, isStale, acknowledging };
const coming = el("p.card.blank", { role: "status" }, "Opening the page.");
const OPENING = { main: [coming], side: null, place: () => "", update() {} };
const LOST = { main: [lost], side: null, place: () => "", update() {} };
const here = () => PAGES[route.page] ?? (route.page in LATER ? OPENING : LOST);

async function open(name) {
  try {
    const page = await LATER[name]();
    PAGES[name] = { main: page.nodes, side: null, place: () => page.place(), update: () => page.update(), page };
    if (route.page === name) show();
  } catch {
    text(coming, "This page could not be fetched. Check the connection to the service, then reload.");
  }
}

const hidden = new Hidden(store);
new Sound(store, document.getElementById("sound"));

// An alarm chosen beside the map: its evidence comes below, and its rack is shown with it.
function chooseBeside(id) {
  const alarm = store.alarms.get(id);
  if (!alarm) return;
  const home = store.halls.find(
    (h) =>
      h.site === alarm.site && h.rows.some((row) => row.racks.includes(alarm.asset) || row.cdus.includes(alarm.asset)),
  );
  route.set({
    alarm: id,
    at: home ? keyOf(alarm.site, alarm.asset) : null,
    ...(home && { hall: `${home.site}/${home.hall}` }),
  });
}

function show() {
  // A link to one alarm that is followed while the console is open: that page is a document of its own.
  if (route.page === "alarm" && route.id) return location.replace(`/console/phone.html${location.hash}`);
  const page = here();
  if (page === OPENING) open(route.page);
  main.replaceChildren(...page.main);
  side.replaceChildren(...(page.side ? [page.side] : []));
  side.setAttribute("aria-label", page.name ?? "");
  app.classList.toggle("wide-side", Boolean(page.wide));
  app.classList.toggle("no-side", !page.side);
  hall.map.card.hidden = true;
  quality.rest();
  refresh();
  beat();
}

function refresh() {
  here().update();
  framed();
}

function framed() {
  frame.place(store.halls, hall.hall());
  frame.power(hall.racks(), isStale);
  frame.alarms();
  frame.title(here().place());
}

store.addEventListener("hall", refresh);
store.addEventListener("values", ({ detail }) => {
  if (route.page === "hall") hall.values(detail);
  if (route.page === "quality") quality.update();
  here().page?.values?.(detail);
  frame.power(hall.racks(), isStale);
});
store.addEventListener("alarms", ({ detail }) => {
  if (route.page === "hall") {
    if (hall.racks().length) hall.alarms(detail);
    list.update();
  } else if (here().page?.alarms) here().page.alarms(detail);
  else here().update();
  frame.alarms();
  frame.title(here().place());
});
acknowledging.addEventListener("change", () => {
  if (route.page === "hall") {
    list.update();
    hall.alarm.update();
  } else if (route.page === "alarms") drawer.update();
  else here().update();
  frame.operator();
});
link.addEventListener("state", () => {
  refresh();
  beat();
});
link.addEventListener("answer", () => {
  if (!store.halls.length) refresh();
});
route.addEventListener("page", () => {
  show();
  main.focus({ preventScroll: true });
});
route.addEventListener("query", refresh);

function acknowledgeSelected() {
  const id = route.page === "alarms" ? route.id : route.query.get("alarm");
  const card = route.page === "alarms" ? drawer : hall.alarm;
  const alarm = store.alarms.get(id);
  if (alarm && unacknowledged(alarm)) return card.acknowledge();
  // Nothing chosen: a key must not acknowledge what nobody has looked at, so it only chooses.
  const next = store.standing.find(unacknowledged);
  if (!next) return notice("No alarm waits to be acknowledged.");
  if (route.page === "alarms") {
    route.go("alarms", next.id, route.query);
    table.focus(next.id);
  } else if (route.page === "hall") {
    chooseBeside(next.id);
    list.focus(next.id);
  } else route.go("alarms", next.id);
  notice(`Selected: ${next.title}. Press A again to acknowledge it.`);
}

// What a key does to the ticked alarms, or else to the one that is looked at.
function act(does) {
  const ticked = route.page === "alarms" ? table.ticked : [];
  const looked = store.alarms.get(route.page === "alarms" ? route.id : route.query.get("alarm"));
  const some = ticked.length ? ticked : looked ? [looked] : [];
  if (some.length) does(acknowledging, some);
  else notice("No alarm is selected.");
}

listen({
  a: () => {
    const ticked = route.page === "alarms" ? table.ticked : [];
    if (ticked.length) acknowledging.several(ticked, "acknowledge", {}, "Acknowledged");
    else acknowledgeSelected();
  },
  s: () => act(acts.shelve),
  c: () => act(acts.comment),
  o: () => act(acts.assign),
  m: () => (route.page === "hall" ? hall.map.focus() : route.go("hall")),
  l: () =>
    route.page === "hall"
      ? list.focus(route.query.get("alarm"))
      : route.page === "alarms"
        ? table.focus(route.id)
        : route.go("alarms"),
  "/": () => (route.page === "alarms" ? table.filter.focus() : route.go("alarms")),
  escape: () => notice(""),
});

function beat() {
  link.beat();
  frame.beat();
  TimeSince.tick();
  if (["hall", "alarms"].includes(route.page)) hidden.beat(route.page === "alarms");
  if (route.page === "hall") hall.beat();
  if (route.page === "alarms") {
    table.beat();
    drawer.beat();
  }
  if (route.page === "quality") quality.beat();
  here().page?.beat();
}

document.body.append(hall.map.card);
show();
setInterval(beat, 1000);
document.addEventListener("visibilitychange", beat);
