// The link in a message, opened: on to the page of one alarm, before anything of the console is fetched.
// Lives here: which addresses go there. Not here: that page (phone.js). Loaded as a plain script, for it must be first.
//   #/alarm/<id>    always      #/alarms/<id>    on a narrow screen, unless it says ?full=1
"use strict";
{
  const [, page, query = ""] = location.hash.match(/^#\/?(alarms?)\/[^?]+(\?.*)?$/) ?? [];
  const narrow = window.matchMedia("(max-width: 599px)").matches;
  if (page === "alarm" || (page === "alarms" && narrow && !new URLSearchParams(query).has("full")))
    location.replace(`/console/phone.html${location.hash.replace(/^#\/?alarms?\//, "#/alarm/")}`);
}
