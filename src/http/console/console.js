// What every page of the console starts with.

import { start as startActs } from "./acts.js";
import { start as startLive } from "./live.js";

startActs();
if (document.body.hasAttribute("data-live-page")) {
  startLive();
}
if (document.querySelector("#events-list")) {
  const { start } = await import("./session.js");
  start();
}
