"""The status page in a real browser, at two widths, with clusters that send hostile text."""

import json
import re
import unittest
import urllib.error
import urllib.request

from support import VENVS, Case, free_port, get, wait_for

AXE = (VENVS / "axe/node_modules/axe-core/axe.min.js").read_text()

# Changes the title if it is interpreted as markup or script.
EVIL = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\\\"'&"
FLEET = f"""
clusters:
- {{name: evil-status, status: "{EVIL}"}}
- {{name: evil-version, version: "{EVIL}"}}
- {{name: backwards, status: "\\u202eevil\\u0007"}}
- {{name: long, status: "{'x' * 190}"}}
- {{name: {'long-name-' * 6}x}}
- {{name: lost, type: KMS, status: KMS Key Not Found, ca_cert_expiry: +3d, client_cert_expiry: -1d}}
- {{name: down, faults: {{down: true}}}}
- {{name: fine}}
"""
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]


class Browser:
    """Chromium through the WebDriver protocol."""

    def __init__(self, case):
        port = free_port()
        case.start("chromedriver", f"--port={port}")
        self.base = f"http://127.0.0.1:{port}"
        wait_for(lambda: self.is_ready(), "the driver listens")
        flags = FLAGS + [f"--user-data-dir={case.folder / 'profile'}"]
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"},
                  "timeouts": {"script": 150_000}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{session['sessionId']}"
        case.addCleanup(self.call, "DELETE", "")

    def is_ready(self):
        try:
            return self.call("GET", "/status")["ready"]
        except OSError:
            return False

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=180) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": f"return {script}", "args": []})

    def width(self, width):
        """Sets the width of the viewport. Windows have a larger minimum width."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def see(self, selector):
        """Whether an element is visible, and not in a closed <details>."""
        return self.run(f"document.querySelector('{selector}').checkVisibility()")

    def press_tab(self):
        for kind in ("keyDown", "keyUp"):
            key = {"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
            self.call("POST", "/goog/cdp/execute", {"cmd": "Input.dispatchKeyEvent", "params": key})

    def scheme(self, name):
        """Light or dark."""
        feature = {"features": [{"name": "prefers-color-scheme", "value": name}]}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": feature})

    def violations(self):
        """The rules of axe (WCAG and best practices) that the page violates, and the elements."""
        self.call("POST", "/execute/sync", {"script": AXE, "args": []})
        script = """const done = arguments[0]; axe.run(document).then(found => done(
            found.violations.map(each => [each.id, each.nodes.map(node => node.html)])));"""
        return self.call("POST", "/execute/async", {"script": script, "args": []})

    def forced_colours(self):
        feature = {"features": [{"name": "forced-colors", "value": "active"}]}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": feature})

    def messages(self):
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]


class Page(Case):
    def setUp(self):
        super().setUp()
        fleet = self.folder / "fleet.yml"
        fleet.write_text(FLEET)
        self.demo = self.start_demo("--fleet", fleet)
        self.browser = Browser(self)

    def test_hostile_text_is_text_and_nothing_is_wide_or_blocked(self):
        browser = self.browser
        for width in (1280, 400, 320):
            browser.width(width)
            browser.open(self.demo.url + "/")
            self.assertEqual(browser.run("window.innerWidth"), width)
            self.assertLessEqual(browser.run("document.documentElement.scrollWidth"), width)
            text = browser.run("document.body.innerText")
            self.assertIn("<img src=x onerror=document.title='owned'><script>", text)
            self.assertIn("\\u{202e}evil\\u{7}", text)
            self.assertEqual(browser.run("document.querySelectorAll('script, img').length"), 0)
            self.assertNotIn("owned", browser.run("document.title"))
            # The Content-Security-Policy allows the stylesheet by its hash.
            self.assertNotEqual(browser.run("getComputedStyle(document.querySelector('.cluster')).borderLeftWidth"), "0px")
        self.assertEqual(browser.messages(), [])

    def test_a_foreign_style_or_script_would_be_blocked(self):
        """The Content-Security-Policy blocks injected content."""
        browser = self.browser
        browser.open(self.demo.url + "/")
        browser.run("""(() => { const style = document.createElement('style'); style.textContent = 'body {color: red}';
                        document.head.append(style); const image = new Image(); image.src = 'http://127.0.0.1:9/x';
                        document.body.append(image); })()""")
        wait_for(lambda: len(browser.messages()) >= 2, "the browser reports both")

    def test_landmarks_and_keyboard(self):
        browser = self.browser
        browser.open(self.demo.url + "/")
        self.assertEqual(browser.run("document.documentElement.lang"), "en")
        for selector, least in (("main", 1), ("header", 1), ("footer", 1), ("h1", 1), ("nav[aria-label]", 2),
                                ("article h2", 8), ("form[role=search] label input", 1)):
            self.assertGreaterEqual(browser.run(f"document.querySelectorAll('{selector}').length"), least, selector)
        names = browser.run("[...document.querySelectorAll('article h2')].map(each => each.innerText)")
        self.assertEqual(names[:2], ["lost", "down"], "worst first")
        browser.press_tab()
        self.assertEqual(browser.run("document.activeElement.innerText"), "Skip to clusters")
        for _ in range(40):
            browser.press_tab()
            if browser.run("document.activeElement.innerText.includes('critical')"):
                break
        browser.run("document.activeElement.click()")
        wait_for(lambda: "state=critical" in browser.run("location.href"), "a link filters")
        names = browser.run("[...document.querySelectorAll('article h2')].map(each => each.innerText)")
        self.assertEqual(names, ["lost"])
        self.assertEqual(browser.run("document.querySelector('[aria-current=true]').innerText.includes('critical')"), True)

    def test_rows_open_and_one_cluster_has_a_view_of_its_own(self):
        browser = self.browser
        browser.open(self.demo.url + "/")
        self.assertEqual(browser.run("getComputedStyle(document.querySelector('.cluster summary'), '::before').content"),
                         '"\u25b8" / ""', "a marker")
        self.assertFalse(browser.see(".forbidden"))
        browser.run("document.querySelector('.cluster summary').click()")
        self.assertTrue(browser.see(".forbidden"))
        size, others = (browser.run(f"parseFloat(getComputedStyle(document.querySelector('{selector}')).fontSize)")
                        for selector in (".forbidden", ".findings p"))
        self.assertGreater(size, others, "the warning is larger than other text")
        browser.run("document.querySelector('.warning-box a').click()")
        wait_for(lambda: "?cluster=lost" in browser.run("location.href"), "the warning leads to the cluster")
        self.assertEqual(browser.run("document.querySelectorAll('article').length"), 1)
        self.assertTrue(browser.see(".forbidden"), "it is open")
        self.assertEqual(browser.run("document.querySelectorAll('meta[http-equiv=refresh]').length"), 0)
        for link in browser.run("[...document.querySelectorAll('main a')].map(each => each.href)"):
            self.assertEqual(get(link)[0], 200, link)

    def test_forty_clusters_fit_and_good_ones_are_folded_away(self):
        good = "\n".join(f"- {{name: good-{number:02}}}" for number in range(35))
        bad = "\n".join(f"- {{name: bad-{number}, type: KMS, status: KMS Key Inactive}}" for number in range(5))
        fleet = self.folder / "forty.yml"
        fleet.write_text(f"clusters:\n{good}\n{bad}\n")
        demo, browser = self.start_demo("--fleet", fleet), self.browser
        browser.width(400)
        browser.open(demo.url + "/")
        self.assertLessEqual(browser.run("document.documentElement.scrollHeight"), 1500)
        self.assertFalse(browser.see(".fold article"))
        browser.run("document.querySelector('.fold > summary').click()")
        self.assertTrue(browser.see(".fold article"))
        self.assertEqual(browser.run("document.querySelectorAll('.fold article').length"), 35)

    def test_forced_colours_leave_nothing_to_colour_alone(self):
        browser = self.browser
        browser.forced_colours()
        browser.open(self.demo.url + "/?refresh=0")
        self.assertTrue(browser.run("matchMedia('(forced-colors: active)').matches"))
        states = browser.run("[...document.querySelectorAll('.cluster summary .state')].map(each => each.innerText)")
        self.assertGreater(len(states), 5)
        self.assertTrue(all(re.fullmatch(r"\S (critical|unknown|warning|good)", state) for state in states), states)
        self.assertEqual(browser.violations(), [])

    def test_fifteen_clusters_fit_the_screen(self):
        demo = self.start_demo()
        self.browser.width(1280)
        self.browser.open(demo.url + "/")
        self.assertEqual(self.browser.run("document.querySelectorAll('article').length"), 15)
        self.assertLessEqual(self.browser.run("[...document.querySelectorAll('article')].pop().getBoundingClientRect().bottom"),
                             900)

    def test_light_and_dark(self):
        browser, colours = self.browser, set()
        for scheme in ("light", "dark"):
            browser.scheme(scheme)
            browser.open(self.demo.url + "/")
            colours.add(browser.run("getComputedStyle(document.body).backgroundColor"))
        self.assertEqual(len(colours), 2, colours)

    def test_axe_finds_nothing(self):
        browser = self.browser
        # A long interval, so that a refresh does not interrupt the check. A link on the page stops the refresh.
        browser.open(self.demo.url + "/?refresh=3600")
        self.assertEqual([name for name, _ in browser.violations()], ["meta-refresh"])
        for path in ("/?refresh=0", "/?state=critical&refresh=0", "/?q=nothing&refresh=0", "/?cluster=lost", "/?cluster=none",
                     "/runbooks/", "/runbooks/QumuloEncryptionKeyNotFound"):
            for width in (1280, 400):
                for scheme in ("light", "dark"):
                    with self.subTest(path=path, width=width, scheme=scheme):
                        browser.width(width)
                        browser.scheme(scheme)
                        browser.open(self.demo.url + path)
                        browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
                        self.assertEqual(browser.violations(), [])


if __name__ == "__main__":
    unittest.main()
