// A link from another site does not bring the cookie along although there is one: look again from here.
const answer = await fetch("/api/state", { cache: "no-store" });
if (answer.ok) location.replace(location.pathname);
