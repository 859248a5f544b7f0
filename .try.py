import asyncio, time, sys
sys.path.insert(0,".")
from tests.servers.dovecot import *
from bridge.sources.imap_client import ImapClient
async def go(s):
    u=s.new_user()
    s.deliver(u, b"Subject: a\r\n\r\nhello\r\n", b"Subject: b\r\n\r\nx\r\n")
    c=await ImapClient.connect("127.0.0.1", s.imap_port, None, 5, max_literal=1000)
    await c.login(u, PASSWORD)
    print(c._protocol.capabilities)
    print(await c.select("INBOX", readonly=False))
    uids=await c.search("ALL"); print(uids)
    print(await c.fetch_meta(uids)); print(await c.fetch_many(uids,100)); print(await c.fetch_raw(1))
    t=time.time(); print(await c.idle(0.5), time.time()-t)
    asyncio.get_running_loop().call_later(0.3, lambda: asyncio.get_running_loop().run_in_executor(None, s.deliver, u, b"Subject: c\r\n\r\n"))
    t=time.time(); print(await c.idle(5), time.time()-t)
    print(await c.search("UID 3:*"))
    try: print(await c.move([1],"Nö & so"))
    except Exception as e: print(repr(e))
    await c.store_seen([1]); print(await c.delete([2])); print(await c.search("ALL"))
    await c.logout()
    s.tokens["tok"]=u
    c=await ImapClient.connect("127.0.0.1", s.imap_port, None, 5, max_literal=1000)
    await c.authenticate_xoauth2(u,"tok"); print("xoauth ok"); await c.logout()
    c=await ImapClient.connect("127.0.0.1", s.imap_port, None, 5, max_literal=1000)
    try: await c.authenticate_xoauth2(u,"bad")
    except Exception as e: print(repr(e))
    await c.logout()
t=time.time()
with running_dovecot() as s:
    print("up", time.time()-t)
    try: asyncio.run(go(s))
    finally: print(open(s.folder/"log").read()[-1500:])
print(time.time()-t)
