"""Lists of the largest posts, asked for by many at a time, on the real server."""

from concurrent.futures import ThreadPoolExecutor

import psutil
import requests

from tests.harness.stacks import Stack

CLIENTS = 100
"""More than the server has threads; what all of them ask for is more than it keeps of answers."""


def test_everybody_gets_all_of_it(stack: Stack) -> None:
    """No answer is cut short, and the memory that they take is bounded and given back."""
    person = stack.join("susan")
    person.load(100, body="x" * 10_000)
    api = psutil.Process(stack.facts["pids"]["api"])
    url = f"{stack.app_url}/v1/users/susan/posts?limit=100"

    def ask(_: int) -> int:
        answer = requests.get(url, headers=person.headers, timeout=120)
        assert len(answer.json()["items"]) == 100
        return int(api.memory_info().rss)

    before = api.memory_info().rss
    with ThreadPoolExecutor(CLIENTS) as clients:
        most = max(clients.map(ask, range(2 * CLIENTS)))
    assert most - before < 300 << 20
    assert api.memory_info().rss - before < 100 << 20
